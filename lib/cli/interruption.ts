/** Work that Ctrl-C, or what ends a program on a server, stops at the next safe place. */
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
