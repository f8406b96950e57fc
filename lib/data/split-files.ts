/** Which files of a folder hold which split, by the conventions of Hugging Face's datasets. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { parse } from 'yaml';
import { fileError } from '../files';
import { nearName } from '../near-name';
import { CorpusError } from './error';
import { matchesGlob } from './glob';

export interface SplitFiles {
  /** Undefined where the rows say it, or nothing does. */
  split: string | undefined;
  /** Relative to the corpus. */
  path: string;
}

const manifestKinds = ['.jsonl', '.tsv', '.csv'];
const splitWord = /^(train|training|dev|devel|valid|validation|val|test|testing|eval|evaluation)/;

/**
 * The data files of a folder with their splits, in order. A `configs` entry in README.md says which
 * they are; without one, names do: `data/train-00000-of-00002.parquet`, `test/metadata.jsonl`,
 * `covost_v2.en_de.dev.tsv`.
 * @throws CorpusError for a configuration that is not there, or several and none chosen
 */
export function findSplits(dir: string, config: string | undefined): SplitFiles[] {
  return chooseSplits(listFiles(dir, 4), readmeOf(dir), config, dir);
}

/** The tables at the top of a folder, whatever their names say; a few of them. */
export function findTables(dir: string): string[] {
  return listFiles(dir, 1)
    .filter((path) => manifestKinds.includes(extname(path).toLowerCase()))
    .sort()
    .slice(0, 20);
}

/** Tables at the top of a folder that no split is read from, since their names say none; a few. */
export function findLeftOut(dir: string, config: string | undefined): string[] {
  const read = new Set(findSplits(dir, config).map(({ path }) => path));
  return findTables(dir).filter((path) => !read.has(path));
}

/** {@link findSplits} of a list of paths, and of the README's text. */
export function chooseSplits(
  paths: readonly string[],
  readme: string | undefined,
  config: string | undefined,
  where: string,
): SplitFiles[] {
  const sorted = paths.filter((path) => dataKind(path) !== undefined).sort();
  const configs = readme === undefined ? [] : configsOf(readme);
  if (configs.length > 0) {
    const chosen = chooseConfig(configs, config, where);
    if (chosen.files.length > 0) {
      return chosen.files.flatMap(({ split, pattern }) =>
        sorted.filter((path) => matchesGlob(pattern, path)).map((path) => ({ split, path })),
      );
    }
  }
  const inFolder = (path: string): boolean =>
    config === undefined || path.split('/').includes(config);
  const chosen = sorted.filter(inFolder);
  if (chosen.length === 0 && config !== undefined) {
    const folders = [...new Set(sorted.map((path) => path.split('/')[0]!))];
    throw new CorpusError(
      `${where} has no configuration '${config}'; it has ${folders.join(', ')}`,
    );
  }
  return chosen.flatMap((path) => {
    const split = splitOf(path);
    const isWhole = /(^|[_.-])(metadata|manifest)$/.test(stem(path));
    const isParquet = path.endsWith('.parquet');
    if (split === undefined && !isWhole && !isParquet) return [];
    return [{ split: split ?? (isParquet ? 'train' : undefined), path }];
  });
}

function dataKind(path: string): string | undefined {
  return [...manifestKinds, '.parquet'].find((kind) => extname(path).toLowerCase() === kind);
}

function stem(path: string): string {
  return basename(path, extname(path));
}

/** The split that a file's name, or its folder's, says. */
function splitOf(path: string): string | undefined {
  const [, sharded] = /^(.+)-\d{5}-of-\d{5}(?:-\w+)?$/.exec(stem(path)) ?? [];
  const named = (sharded ?? stem(path))
    .replace(/(^|[_.-])(metadata|manifest)(?=$|[_.-])/g, '')
    .replace(/^[_.-]+/, '');
  const last = named.split('.').at(-1)!;
  if (sharded !== undefined && last !== '') return last;
  const folders = dirname(path).split('/').reverse();
  return [last, ...folders].find((part) => splitWord.test(part));
}

interface Config {
  name: string;
  isDefault: boolean;
  files: { split: string; pattern: string }[];
}

/** What the YAML at a README's beginning says of configurations; nothing if it makes no sense. */
function configsOf(readme: string): Config[] {
  const [, front] = /^---\r?\n([\s\S]*?)\r?\n---/.exec(readme) ?? [];
  if (front === undefined) return [];
  let said: unknown;
  try {
    said = (parse(front, { logLevel: 'error' }) as { configs?: unknown } | null)?.configs;
  } catch {
    return [];
  }
  return (Array.isArray(said) ? said : []).map((entry: Record<string, unknown>) => ({
    name: String(entry.config_name ?? 'default'),
    isDefault: entry.default === true || entry.config_name === 'default',
    files: patternsOf(entry.data_files),
  }));
}

/** `data_files` may be a pattern, several, or some for each split. */
function patternsOf(files: unknown, split = 'train'): Config['files'] {
  if (typeof files === 'string') return [{ split, pattern: files }];
  if (Array.isArray(files)) return files.flatMap((one) => patternsOf(one, split));
  if (typeof files !== 'object' || files === null) return [];
  const { split: named, path } = files as { split?: unknown; path?: unknown };
  if (path !== undefined) return patternsOf(path, typeof named === 'string' ? named : split);
  return Object.entries(files).flatMap(([name, one]) => patternsOf(one, name));
}

function chooseConfig(
  configs: readonly Config[],
  asked: string | undefined,
  where: string,
): Config {
  const names = configs.map(({ name }) => name);
  if (asked !== undefined) {
    const found = configs.find(({ name }) => name === asked);
    if (found !== undefined) return found;
    const near = nearName(asked, names);
    throw new CorpusError(
      `${where} has no configuration '${asked}'; ` +
        (near === undefined ? `it has ${names.join(', ')}` : `is it ${near}?`),
    );
  }
  const found = configs.length === 1 ? configs[0] : configs.find(({ isDefault }) => isDefault);
  if (found !== undefined) return found;
  throw new CorpusError(
    `${where} has several configurations, ${names.join(', ')}; choose one (corpus.config, or ` +
      `name:${names[0]})`,
  );
}

function readmeOf(dir: string): string | undefined {
  const path = join(dir, 'README.md');
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

/** Files below a folder, relative to it, links to files among them; hidden ones are left out. */
function listFiles(dir: string, depth: number, prefix = ''): string[] {
  try {
    return readdirSync(join(dir, prefix), { withFileTypes: true }).flatMap((entry) => {
      if (entry.name.startsWith('.')) return [];
      const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
      if (entry.isDirectory()) return depth > 1 ? listFiles(dir, depth - 1, path) : [];
      if (entry.isSymbolicLink() && !existsSync(join(dir, path))) return [];
      return entry.isFile() || statSync(join(dir, path)).isFile() ? [path] : [];
    });
  } catch (error) {
    throw fileError('read', join(dir, prefix), error);
  }
}
