/** A corpus of sound files with a manifest for each split, or one for all. */
import { existsSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, normalize, sep } from 'node:path';
import { audioSeconds } from '../audio';
import { findColumns, languagePairIn, valueAt, type ColumnNames, type Columns } from './columns';
import type { Corpus, ReadOptions, Utterance } from './corpus';
import { CorpusError, unknownSplit } from './error';
import { manifestRows } from './manifest-rows';
import { RowReader } from './rows';
import type { SplitFiles } from './split-files';

/** Where sounds are looked for, beside a manifest and in the corpus' folder. */
const folders = ['', 'clips', 'audio', 'wav'];

/**
 * Opens a folder with manifests, of which the first rows are read.
 * @param name `dir`, or what the hub calls it
 * @throws CorpusError naming the column that is missing
 */
export async function openManifests(
  dir: string,
  name: string,
  files: readonly SplitFiles[],
  names: ColumnNames,
): Promise<Corpus> {
  const all = await Promise.all(
    files.map((file) => openManifest(dir, file, names, splitByFolder(file, files))),
  );
  const { columns } = all.find((manifest) => manifest.columns !== undefined) ?? {};
  if (columns === undefined) {
    const paths = files.map(({ path }) => path).join(', ');
    throw new CorpusError(`${dir} has no row in its manifests (${paths}); a corpus needs one`);
  }
  const manifests = all.map((manifest) => ({ ...manifest, columns: manifest.columns ?? columns }));
  const splits = [...new Set(manifests.flatMap((manifest) => manifest.splits))];
  const pathOf = ({ audio }: Utterance): string => (isAbsolute(audio) ? audio : join(dir, audio));
  const isRemote = dir !== name;
  return {
    dir,
    description: {
      name: basename(name),
      version: isRemote ? basename(dir) : '',
      languages: { source: columns.source, targets: [...columns.translations.keys()] },
      splits: Object.fromEntries(splits.map((split) => [split, {}])),
    },
    read: async (split, options = {}) => {
      const of = manifests.filter((manifest) => manifest.splits.includes(split));
      if (of.length === 0) throw unknownSplit(dir, split, splits);
      return readSplit(dir, split, of, isRemote, options);
    },
    audio: (utterance) => Promise.resolve(pathOf(utterance)),
    audioName: pathOf,
    audioFiles: (utterances) => utterances.map(pathOf),
    blockOf: () => undefined,
  };
}

/**
 * The split of rows that do not say theirs, in a file whose name does not: where manifests lie in
 * several folders, the folder's name, so that what is held out is never among the rest.
 */
function splitByFolder({ path }: SplitFiles, files: readonly SplitFiles[]): string {
  const folders = files
    .filter(({ split }) => split === undefined)
    .map((file) => dirname(file.path));
  const folder = dirname(path);
  return folder === '.' || new Set(folders).size < 2 ? 'train' : basename(folder);
}

interface Manifest {
  /** Relative to the corpus. */
  path: string;
  /** Undefined where no row says what it has. */
  columns: Columns | undefined;
  splits: string[];
  splitOf: (row: Record<string, unknown>) => string;
}

async function openManifest(
  dir: string,
  { path, split }: SplitFiles,
  names: ColumnNames,
  fallback: string,
): Promise<Manifest> {
  const full = join(dir, path);
  let columns: Columns | undefined;
  const found = new Set<string>(split === undefined ? [] : [split]);
  const splitOf = (row: Record<string, unknown>): string => {
    if (split !== undefined) return split;
    const told = columns!.split && valueAt(row, columns!.split);
    if (typeof told === 'string' && told !== '') return told;
    const first = String(valueAt(row, columns!.audio) as string).split('/')[0]!;
    return /^(train|dev|valid|val|test|eval)/.test(first) ? first : fallback;
  };
  // Lines that are no rows are told when the split is read; here where no other line is there.
  let problem: CorpusError | undefined;
  for await (const { values } of manifestRows(full, (error) => (problem ??= error))) {
    const there = Object.entries(values).map(([name, value]) => ({ name, parts: partsOf(value) }));
    columns ??= findColumns(there, names, languagePairIn(path), full);
    if (split !== undefined) break;
    found.add(splitOf(values));
  }
  if (columns === undefined && problem !== undefined) throw problem;
  return { path, columns, splits: [...found], splitOf };
}

function partsOf(value: unknown): string[] {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? Object.keys(value) : [];
}

async function readSplit(
  dir: string,
  split: string,
  manifests: readonly (Manifest & { columns: Columns })[],
  isRemote: boolean,
  options: ReadOptions,
): Promise<Utterance[]> {
  const reader = new RowReader(split, options);
  let number = 0;
  for (const { path, columns, splitOf } of manifests) {
    const full = join(dir, path);
    let base = '';
    for await (const { values, line } of manifestRows(full, options.onProblem)) {
      if (splitOf(values) !== split) continue;
      number++;
      const where = `${full} line ${line}`;
      await reader.add(values, columns, number, where, (audio) => {
        const found = findSound(dir, dirname(path), audio, base, isRemote, where);
        base = found.base;
        const there = isAbsolute(found.audio) ? found.audio : join(dir, found.audio);
        return { audio: found.audio, seconds: () => audioSeconds(there) };
      });
    }
  }
  return reader.utterances;
}

/**
 * @param folder of the manifest, relative to the corpus
 * @param last where the row before had its sound
 */
function findSound(
  dir: string,
  folder: string,
  audio: unknown,
  last: string,
  isRemote: boolean,
  where: string,
): { audio: string; base: string } {
  if (typeof audio !== 'string' || audio.trim() === '') {
    throw new CorpusError(`${where}: no sound file is named; name it, or leave the row out`);
  }
  const absolute = isAbsolute(audio);
  if ((absolute && isRemote) || normalize(audio).split(sep)[0] === '..') {
    throw new CorpusError(
      `${where}: audio '${audio}' lies outside the corpus; use a path relative to it`,
    );
  }
  if (absolute && existsSync(audio)) return { audio, base: last };
  const bases = [last, ...folders.map((f) => join(folder, f)), ...folders];
  const base = absolute ? undefined : bases.find((b) => existsSync(join(dir, b, audio)));
  if (base !== undefined) return { audio: join(base, audio), base };
  throw new CorpusError(
    `${where}: ${absolute ? audio : join(dir, folder, audio)} does not exist; restore the file or ` +
      'leave the row out',
  );
}
