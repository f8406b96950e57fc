/** Datasets of the Hugging Face hub as corpora. */
import { existsSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fetchSnapshot, parseHubName, type SnapshotOptions } from '../hub';
import { unknownSplit } from './error';
import { chooseSplits } from './split-files';

export type HubOptions = Pick<SnapshotOptions, 'env' | 'signal' | 'onProgress'> & {
  splits?: readonly string[];
};

export interface HubDataset {
  name: string;
  revision?: string;
  config?: string;
}

/** Reads `owner/name[@revision][:config]`; undefined for what has another form. */
export function parseDatasetName(text: string): HubDataset | undefined {
  const [, named = '', config] = /^([^:]+)(?::(.+))?$/.exec(text) ?? [];
  const repository = parseHubName(named);
  return repository && { ...repository, config };
}

const sounds = ['.wav', '.flac', '.mp3', '.ogg', '.opus', '.m4a'];

/**
 * The folder of a dataset in the hub's cache, after fetching what is not there: README.md, the
 * Parquet files of the splits that are asked for, or manifests with all sounds.
 * @throws CorpusError for a split that is not there, HubError, FileError
 */
export async function fetchDataset(
  { name, revision, config }: HubDataset,
  { splits, ...options }: HubOptions,
): Promise<string> {
  const type = 'dataset' as const;
  const readme = (paths: readonly string[]): string[] =>
    paths.filter((path) => path === 'README.md');
  // Which files are which split is said in there; most have one, none must.
  const about = {
    ...{ ...options, type, revision, onProgress: undefined, choose: readme },
    // The page alone is not the dataset, if the rest does not come.
    partial: true,
  };
  const page = join(await fetchSnapshot(name, about), 'README.md');
  const text = existsSync(page) ? readFileSync(page, 'utf8') : undefined;
  return fetchSnapshot(name, {
    ...{ ...options, type, revision },
    choose: (paths) => {
      const files = chooseSplits(paths, text, config, name);
      const tables = files.filter(({ path }) => path.endsWith('.parquet'));
      if (tables.length === 0) {
        const manifests = files.map(({ path }) => path);
        return [...readme(paths), ...own(paths), ...paths.filter(isSound).sort(), ...manifests];
      }
      const known = [...new Set(tables.map(({ split }) => split!))];
      const missing = splits?.find((split) => !known.includes(split));
      if (missing !== undefined) throw unknownSplit(name, missing, known);
      const wanted = tables.filter(({ split }) => splits === undefined || splits.includes(split!));
      return [...readme(paths), ...wanted.map(({ path }) => path)];
    },
  });
}

function isSound(path: string): boolean {
  return sounds.includes(extname(path).toLowerCase());
}

/** What a corpus in pare's own form describes itself with. */
function own(paths: readonly string[]): string[] {
  return paths.filter((path) => path === 'corpus.json');
}
