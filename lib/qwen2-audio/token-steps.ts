/** The loop that greedy decoding and sampling share. */
import { setImmediate } from 'node:timers/promises';

interface Steps {
  maxNewTokens: number;
  eosTokenIds: readonly number[];
  signal?: AbortSignal;
  /** An id of each sequence after the prompt. */
  first: () => number[];
  /** An id of each sequence after the last; `step` counts from 1. */
  next: (last: number[], step: number) => number[];
}

/**
 * Ids of each step until all sequences have ended or have `maxNewTokens`; undefined for one that
 * has ended. Yields to the event loop between steps.
 */
export async function* tokenSteps(steps: Steps): AsyncGenerator<(number | undefined)[], void> {
  const { maxNewTokens, eosTokenIds, signal, first, next } = steps;
  let last = first();
  const finished = last.map(() => false);
  for (let step = 1; ; step++) {
    yield last.map((id, i) => (finished[i] ? undefined : id));
    for (const [i, id] of last.entries()) finished[i] ||= eosTokenIds.includes(id);
    if (step === maxNewTokens || finished.every(Boolean)) return;
    await setImmediate();
    signal?.throwIfAborted();
    last = next(last, step);
  }
}
