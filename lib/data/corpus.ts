/** What all forms of a corpus have in common, and finding out which form is before one. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { PareError } from '../errors';
import { orFolder } from '../hub';
import type { ColumnNames } from './columns';
import { openDescribed } from './described';
import { CorpusError } from './error';
import { fetchDataset, parseDatasetName, type HubOptions } from './hub';
import { openManifests } from './manifest';
import { openParquet } from './parquet';
import { findSplits, findTables, type SplitFiles } from './split-files';

/** One thing that is said, with its translations. */
export interface Utterance {
  /** Unique in its split. */
  id: string;
  /** Where the sound is: a path as the corpus has it, or `file#row` for one inside a Parquet file. */
  audio: string;
  seconds: number;
  /** Undefined where the corpus does not say. */
  speaker?: string;
  /** What is said. */
  text: string;
  /** References by target language, `de` or `zh`. */
  translations: Record<string, string>;
  /** What must lie whole in one split: a talk, or in the demo a combination. */
  group?: string;
}

/** What a corpus says of itself, or its names and columns say of it. */
export interface CorpusDescription {
  name: string;
  /** Changes with the content, as far as the corpus says. */
  version: string;
  languages: { source: string; targets: string[] };
  /** By name, with what is known of them without reading. */
  splits: Record<string, { utterances?: number; seconds?: number; speakers?: number }>;
  /** Hz, where it is promised to be the same in all files. */
  sampleRate?: number;
  /** How it was made, for a corpus that a program made. */
  generator?: Record<string, unknown>;
}

/** Options of {@link Corpus.read}. */
export interface ReadOptions {
  /** Hears of a row that cannot be used, which is then left out; without it the first one throws. */
  onProblem?: (problem: PareError) => void;
  signal?: AbortSignal;
}

/** Utterances are an index: texts and lengths. Sounds are read when they are asked for. */
export interface Corpus {
  /** What errors call it: its folder. */
  dir: string;
  description: CorpusDescription;
  /**
   * All utterances of a split, in order.
   * @throws CorpusError naming file and line: no such split, not JSON, a column missing, an empty
   * text, a missing sound file, an id twice
   */
  read(split: string, options?: ReadOptions): Promise<Utterance[]>;
  /**
   * An utterance's sound: the path of its file, or the bytes of one.
   * @throws CorpusError if it is not there
   */
  audio(utterance: Utterance): Promise<string | Uint8Array>;
  /** What an error calls an utterance's sound. */
  audioName(utterance: Utterance): string;
  /** The files that hold the sounds. */
  audioFiles(utterances: readonly Utterance[]): string[];
  /**
   * Sounds with the same name here are read and unpacked together, so that an order that keeps
   * them near each other is faster; undefined where each lies in a file of its own.
   */
  blockOf(utterance: Utterance): string | undefined;
}

/** Which corpus, and how its columns are called. */
export interface CorpusSource {
  /** A folder. */
  path?: string;
  /** In place of a folder: `owner/name`, `owner/name@revision`, `owner/name:config` on the hub. */
  hub?: string;
  /** Of several datasets in one folder or repository, the one with this name. */
  config?: string;
  columns?: ColumnNames;
}

/** Options of {@link openCorpus}. */
export interface OpenOptions extends HubOptions {
  /** What will be read of it; of a repository only these are fetched. All unless given. */
  splits?: readonly string[];
}

/**
 * Opens a corpus: a folder with `corpus.json`, with manifests (`train.tsv`, `metadata.jsonl` …) or
 * with Parquet files, or a dataset of the hub, from its cache or fetched into it.
 * @param source a text is a folder if there is one of that name, else a name on the hub; a corpus
 * that is open is given back
 * @throws CorpusError for what is no corpus; HubError, FileError
 */
export async function openCorpus(
  source: string | CorpusSource | Corpus,
  options: OpenOptions = {},
): Promise<Corpus> {
  if (typeof source === 'object' && 'read' in source) return source;
  const found = typeof source === 'string' ? findSource(source) : source;
  const { path, hub, config, columns = {} } = found;
  if (path !== undefined) return openFolder(path, path, config, columns);
  const named = parseDatasetName(hub!);
  if (named === undefined) {
    throw new CorpusError(
      `'${hub}' is no dataset's name on the hub; give owner/name, such as owner/name@main:config`,
    );
  }
  const asked = { ...named, config: config ?? named.config };
  const fetch = (): Promise<string> => fetchDataset(asked, options);
  const dir = await (typeof source === 'string' ? orFolder(source, fetch) : fetch());
  return openFolder(dir, hub!, asked.config, columns);
}

/** What a text names: a folder if there is one, else a dataset if it has the form of a name. */
export function findSource(text: string): CorpusSource {
  const isPath = existsSync(text) || parseDatasetName(text) === undefined;
  return isPath ? { path: text } : { hub: text };
}

function openFolder(
  given: string,
  name: string,
  config: string | undefined,
  columns: ColumnNames,
): Promise<Corpus> | Corpus {
  const dir = snapshotOf(given);
  if (existsSync(join(dir, 'corpus.json'))) return openDescribed(dir);
  const files = findSplits(dir, config);
  if (files.length === 0) {
    const nameless = findTables(dir).slice(0, 4);
    if (nameless.length > 0) {
      throw new CorpusError(
        `${dir}: ${nameless.join(', ')} ${nameless.length === 1 ? 'names' : 'name'} no split that is ` +
          'known (train, dev, validation, test …); call the file so, or put all rows into ' +
          'manifest.jsonl, manifest.tsv or manifest.csv with a column split',
      );
    }
    throw new CorpusError(
      `${dir} has no corpus.json, no manifest (train.tsv, metadata.jsonl …) and no Parquet files; ` +
        'is it the folder of a corpus?',
    );
  }
  const open = files.some(isParquet) ? openParquet : openManifests;
  const kept = files.filter((file) => isParquet(file) === files.some(isParquet));
  return open(dir, name, kept, columns);
}

function isParquet({ path }: SplitFiles): boolean {
  return path.endsWith('.parquet');
}

/** The files of a repository in the hub's cache (`datasets--owner--name`); other folders as they are. */
function snapshotOf(dir: string): string {
  let isFolder = false;
  try {
    isFolder = statSync(dir).isDirectory();
  } catch {
    // Said below.
  }
  if (!isFolder) {
    throw new CorpusError(
      `${dir} is neither a folder nor a name on the hub (owner/name); give the folder of a corpus`,
    );
  }
  const snapshots = join(dir, 'snapshots');
  if (!existsSync(snapshots)) return dir;
  const main = join(dir, 'refs', 'main');
  const commits = readdirSync(snapshots).sort();
  const commit = existsSync(main) ? readFileSync(main, 'utf8').trim() : commits[0];
  if (commit === undefined || !commits.includes(commit)) {
    throw new CorpusError(`${dir} holds no snapshot of main; fetch the dataset again`);
  }
  return join(snapshots, commit);
}
