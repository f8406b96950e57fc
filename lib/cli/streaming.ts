/** Commands that write a checkpoint. */
import type { Accounting } from '../qwen2-audio/accounting';
import type { CheckpointSource } from '../qwen2-audio/resolve';
import type { StreamOptions } from '../qwen2-audio/write-checkpoint';
import type { Context } from './context';
import { interruptible } from './interruption';
import { Progress } from './progress';

/**
 * A bar of the megabytes, and one of what is fetched before; Ctrl-C and SIGTERM end the
 * work with nothing half written.
 */
export async function streaming<T>(
  context: Context,
  label: string,
  work: (
    options: Required<
      Pick<StreamOptions & CheckpointSource, 'signal' | 'onProgress' | 'onFetch' | 'env'>
    >,
  ) => Promise<T>,
): Promise<T> {
  const progress = new Progress(context.stderr, context.now);
  try {
    return await interruptible((signal) =>
      work({
        signal,
        env: context.env,
        onFetch: fetching(progress),
        onProgress: (done, total) =>
          progress.update(`${label}, MB`, Math.floor(done / 1e6), Math.ceil(total / 1e6)),
      }),
    );
  } finally {
    progress.stop();
  }
}

/** A bar of the megabytes of a checkpoint that come from the hub. */
export function fetching(progress: Progress): (done: number, total: number) => void {
  return (done, total) =>
    progress.update('fetching the model (MB)', Math.floor(done / 1e6), Math.ceil(total / 1e6));
}

/** Says how large the checkpoint is that was written, in words or as JSON. */
export function printSize(
  context: Context,
  json: boolean | undefined,
  about: { output: string } & Record<string, unknown>,
  { decoderLayers, parameters, storedElements, bytes }: Accounting,
  remark: string = '',
): void {
  const sizes = { decoderLayers, parameters, storedElements, bytes };
  if (json) {
    context.print(JSON.stringify({ ...about, ...sizes }));
    return;
  }
  const number = new Intl.NumberFormat('en');
  context.print(
    `${about.output}: ${decoderLayers} decoder layers, ${number.format(parameters)} parameters, ` +
      `${number.format(bytes)} bytes${remark}`,
  );
}
