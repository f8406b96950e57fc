/** The checkpoint that a step of the method is given. */
import { resolveSource, type CheckpointSource } from '../../qwen2-audio/resolve';
import { progressOf, type RunOptions } from '../context';

/** Of a checkpoint on the hub: its revision, and where the hub and its cache are. */
export type HubSource = Pick<CheckpointSource, 'revision' | 'env'>;

/**
 * The folder of a checkpoint; of a name on the hub that in its cache, after fetching what is not
 * there.
 * @throws CheckpointError for what is neither, HubError, FileError
 */
export function checkpointFolder(
  pathOrHubName: string,
  options: HubSource & Pick<RunOptions, 'signal' | 'onProgress'>,
): Promise<string> {
  const { revision, env, signal } = options;
  const tell = progressOf({ options }, 'fetching the model (MB)');
  const onFetch = (done: number, total: number): void =>
    tell(Math.ceil(done / 1e6), Math.ceil(total / 1e6));
  return resolveSource(pathOrHubName, { revision, env, signal, onFetch });
}
