/** Work that Ctrl-C, or what ends a program on a server, stops at the next safe place. */
import { isAbort, type Context } from './context';
import type { Progress } from './progress';

const signals = ['SIGINT', 'SIGTERM'] as const;

/** Runs `work` with a signal that the first of them aborts; a second one ends the process at once. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const interrupt = (): void => {
    controller.abort();
    release();
  };
  const release = (): void => {
    for (const signal of signals) process.removeListener(signal, interrupt);
  };
  for (const signal of signals) process.on(signal, interrupt);
  try {
    return await work(controller.signal);
  } finally {
    release();
  }
}

/**
 * Runs work that goes on where it was when it is asked for again, and says so if it is interrupted.
 * @returns undefined then
 */
export async function resumable<T>(
  context: Context,
  progress: Progress,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  try {
    return await interruptible(work);
  } catch (error) {
    progress.stop();
    if (!isAbort(error)) throw error;
    context.fail(error);
    context.note('pare: the same command goes on where this one was');
    return undefined;
  } finally {
    progress.stop();
  }
}
