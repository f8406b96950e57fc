/** From what a user calls a checkpoint to its folder. */
import { existsSync } from 'node:fs';
import {
  fetchSnapshot,
  orFolder,
  parseHubName,
  planSnapshot,
  type PlannedFetch,
  type SnapshotOptions,
} from '../hub';
import { adapterFolder, CheckpointError } from './folder';

/** The revision of a checkpoint on the hub, and how it is fetched. */
export type ResolveOptions = Omit<SnapshotOptions, 'type' | 'choose' | 'partial'>;

/** For what takes a checkpoint by its folder or its name on the hub, and tells of work of its own. */
export interface CheckpointSource extends Pick<ResolveOptions, 'revision' | 'env' | 'signal'> {
  /** Hears of bytes that are fetched. */
  onFetch?: ResolveOptions['onProgress'];
}

/** {@link resolveCheckpoint} with the options of {@link CheckpointSource}. */
export function resolveSource(
  pathOrHubName: string,
  { revision, env, signal, onFetch: onProgress }: CheckpointSource,
): Promise<string> {
  return resolveCheckpoint(pathOrHubName, { revision, env, signal, onProgress });
}

const configFiles = ['config.json', 'generation_config.json'];

/** What pare reads of a checkpoint beside its weights, and what it copies when it saves one. */
const smallFiles = [
  ...configFiles,
  ...['preprocessor_config.json', 'processor_config.json'],
  ...['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json'],
  ...['vocab.json', 'merges.txt', 'chat_template.jinja', 'chat_template.json'],
  `${adapterFolder}/adapter_config.json`,
];
const adapterWeights = `${adapterFolder}/adapter_model.safetensors`;
const singleFile = 'model.safetensors';
const indexFile = `${singleFile}.index.json`;

/** Small files first and weights last: where all weights are there, all else is. */
function checkpointFilesOf(paths: readonly string[]): string[] {
  const shards = paths.filter((path) => /^model-\d+-of-\d+\.safetensors$/.test(path));
  const weights = paths.includes(singleFile) ? [singleFile] : [indexFile, ...shards.sort()];
  return [...smallFiles, adapterWeights, ...weights].filter((path) => paths.includes(path));
}

/**
 * The folder of a checkpoint: the one that is given, or a snapshot in the hub's cache of a
 * repository `owner/name`, or `owner/name@revision`, of which only the files that pare reads are
 * fetched.
 * @throws CheckpointError for what is neither, HubError, FileError
 */
export async function resolveCheckpoint(
  pathOrHubName: string,
  options: ResolveOptions = {},
): Promise<string> {
  const found = whereIs(pathOrHubName, options.revision);
  if (typeof found === 'string') return found;
  return orFolder(pathOrHubName, () =>
    fetchSnapshot(found.name, { ...options, ...found, choose: checkpointFilesOf }),
  );
}

/**
 * What {@link resolveCheckpoint} would fetch, and the config.json, which is all that is fetched.
 * Of a folder nothing.
 * @throws as {@link resolveCheckpoint}
 */
export async function planCheckpoint(
  pathOrHubName: string,
  options: ResolveOptions = {},
): Promise<{ configDir: string; fetch?: PlannedFetch }> {
  const found = whereIs(pathOrHubName, options.revision);
  if (typeof found === 'string') return { configDir: found };
  const own = { ...options, ...found };
  return orFolder(pathOrHubName, async () => {
    const fetch = await planSnapshot(found.name, { ...own, choose: checkpointFilesOf });
    const choose = (paths: readonly string[]): string[] =>
      configFiles.filter((path) => paths.includes(path));
    const configDir = await fetchSnapshot(found.name, { ...own, choose, partial: true });
    return { configDir, fetch };
  });
}

/** The folder, or the repository and the revision if one is named. */
function whereIs(text: string, revision?: string): string | { name: string; revision?: string } {
  if (existsSync(text)) {
    if (revision === undefined) return text;
    throw new CheckpointError(
      `${text} is a folder, which has no revision ${revision}; leave the revision out`,
    );
  }
  const named = parseHubName(text);
  if (named === undefined) {
    throw new CheckpointError(
      `${text} is neither a folder nor a name on the hub (owner/name); ` +
        'give the folder of a checkpoint',
    );
  }
  if (revision === undefined) return named;
  if (named.revision === undefined) return { ...named, revision };
  throw new CheckpointError(
    `${text} names its revision, and ${revision} is asked for; give one of them`,
  );
}
