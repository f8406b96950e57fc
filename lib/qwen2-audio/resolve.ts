/** From what a user calls a checkpoint to its folder. */
import { existsSync } from 'node:fs';
import { fetchSnapshot, HubNotFoundError, isHubName, type SnapshotOptions } from '../hub';
import { adapterFolder, CheckpointError } from './folder';

export type ResolveOptions = Omit<SnapshotOptions, 'type' | 'choose'>;

/** What pare reads of a checkpoint beside its weights, and what it copies when it saves one. */
const smallFiles = [
  ...['config.json', 'generation_config.json'],
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
 * repository `owner/name`, of which only the files that pare reads are fetched.
 * @throws CheckpointError for what is neither, HubError, FileError
 */
export async function resolveCheckpoint(
  pathOrHubName: string,
  options: ResolveOptions = {},
): Promise<string> {
  const { revision } = options;
  if (existsSync(pathOrHubName)) {
    if (revision === undefined) return pathOrHubName;
    throw new CheckpointError(
      `${pathOrHubName} is a folder, which has no revision ${revision}; leave the revision out`,
    );
  }
  if (!isHubName(pathOrHubName)) {
    throw new CheckpointError(
      `${pathOrHubName} is neither a folder nor a name on the hub (owner/name); ` +
        'give the folder of a checkpoint',
    );
  }
  try {
    return await fetchSnapshot(pathOrHubName, { ...options, choose: checkpointFilesOf });
  } catch (error) {
    // A folder may have been meant.
    if (error instanceof HubNotFoundError) {
      error.message = `there is no folder ${pathOrHubName} here, and ${error.message}`;
    }
    throw error;
  }
}
