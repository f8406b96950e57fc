/** Where a run, or a step of the method, computes. */
import { checkDevice, DeviceError } from '../qwen2-audio/load';
import { cudaDeviceCount, cudaSetDevice } from '../torch';
import { cudaIndex } from '../torch/device';
import { defaultBackend } from '../torch/distributed';
import type { RunOptions } from './context';

/**
 * Takes the device that is asked for, as {@link takeOwn}; where that fails the other ranks hear of it.
 * @throws DeviceError
 */
export async function takeDevice(options: Pick<RunOptions, 'device' | 'ranks'>): Promise<void> {
  try {
    takeOwn(options);
  } catch (error) {
    await options.ranks?.fail(error);
    throw error;
  }
}

/**
 * Makes sure of the device that is asked for, and makes it the current one: its generator and its free
 * memory are the ones that are asked for. Of several ranks of a machine each takes a GPU of its own.
 * @throws DeviceError where it is not there
 */
function takeOwn({ device = 'cpu', ranks }: Pick<RunOptions, 'device' | 'ranks'>): void {
  checkDevice({ device });
  if (device === 'cpu') return;
  const index = cudaIndex(device);
  if (ranks === undefined || ranks.size === 1) return cudaSetDevice(index ?? 0);
  if (index !== undefined) {
    throw new DeviceError(`device ${device}: of several processes each takes a GPU; give cuda`);
  }
  if (!defaultBackend().includes('nccl')) {
    throw new DeviceError(
      'several processes with GPUs need NCCL, which this build lacks; see docs/distributed.md',
    );
  }
  cudaSetDevice(gpuOf(ranks.localRank));
}

/** Where a process sees one GPU alone, as Slurm arranges it, it is that one. */
function gpuOf(localRank: number): number {
  const count = cudaDeviceCount();
  if (count === 1) return 0;
  if (localRank < count) return localRank;
  throw new DeviceError(
    `there are ${count} GPUs here, none for the process ${localRank + 1} of this machine; ` +
      `start ${count}`,
  );
}
