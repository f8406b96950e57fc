/** Where a run computes. */
import { checkDevice } from '../qwen2-audio/load';
import { cudaSetDevice } from '../torch';
import type { RunOptions } from './context';

/**
 * Makes sure of the device that is asked for; of several ranks of a machine each takes a GPU of its own.
 * @throws DeviceError where it is not there
 */
export function takeDevice({ device, ranks }: Pick<RunOptions, 'device' | 'ranks'>): void {
  checkDevice({ device });
  if (device === 'cuda' && ranks !== undefined) cudaSetDevice(ranks.localRank);
}
