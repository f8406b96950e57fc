import type { Ranks } from './ranks';

/** Results that are there already, and who hears of new ones. */
export interface ShareOptions<T> {
  /** Results from before, by item: the leader's count. */
  known?: ReadonlyMap<number, T>;
  /** Hears of each result, its own and others', once. */
  onResult?: (item: number, result: T) => void;
  signal?: AbortSignal;
}

/**
 * Computes `count` items, each by one rank, and gives all results to all ranks. Ranks take the next
 * free item; what a rank had taken that is gone since is free again. Results must not depend on the
 * rank, and be something that JSON can hold.
 * @param ranks this process alone if undefined
 * @throws DistributedError if the leader is gone; what `compute` throws
 */
export async function shareWork<T>(
  ranks: Ranks | undefined,
  count: number,
  compute: (item: number) => Promise<T>,
  options: ShareOptions<T> = {},
): Promise<T[]> {
  if (ranks === undefined || ranks.size === 1) return alone(count, compute, options);
  const { known, onResult, signal } = options;
  const { store } = ranks;
  const work = ranks.nextWork();
  const resultKey = (item: number): string => `${work}/result/${item}`;
  if (ranks.leads) {
    for (const [item, value] of known ?? [])
      await store.set(resultKey(item), JSON.stringify(value));
    await store.set(`${work}/open`, '1');
  } else {
    await store.waitFor(`${work}/open`, () => ranks.check());
  }
  const results = new Map<number, T>();
  for (;;) {
    const missing = Array.from({ length: count }, (_, i) => i).filter((i) => !results.has(i));
    const texts = await store.get(missing.map(resultKey));
    for (const [i, text] of texts.entries()) {
      if (text === undefined) continue;
      const value = JSON.parse(text) as T;
      results.set(missing[i]!, value);
      onResult?.(missing[i]!, value);
    }
    if (results.size === count) break;
    signal?.throwIfAborted();
    const gone = await ranks.check();
    const left = missing.filter((item) => !results.has(item));
    const item = await claim(ranks, work, left, gone);
    if (item === undefined) await ranks.pause(signal);
    // One that was given up too early may come second; both have computed the same.
    else await store.compareSet(resultKey(item), undefined, JSON.stringify(await compute(item)));
  }
  return Array.from({ length: count }, (_, i) => results.get(i)!);
}

/** Takes the first item that nobody has, or that has been a rank's that is gone. */
async function claim(
  { store, rank }: Ranks,
  work: string,
  items: readonly number[],
  gone: ReadonlySet<number>,
): Promise<number | undefined> {
  const keys = items.map((item) => `${work}/owner/${item}`);
  const owners = await store.get(keys);
  for (const [i, owner] of owners.entries()) {
    if (owner !== undefined && !gone.has(Number(owner))) continue;
    if ((await store.compareSet(keys[i]!, owner, String(rank))) === String(rank)) return items[i];
  }
  return undefined;
}

async function alone<T>(
  count: number,
  compute: (item: number) => Promise<T>,
  { known, onResult }: ShareOptions<T>,
): Promise<T[]> {
  const results: T[] = [];
  for (let item = 0; item < count; item++) {
    const result = known?.get(item) ?? (await compute(item));
    onResult?.(item, result);
    results.push(result);
  }
  return results;
}
