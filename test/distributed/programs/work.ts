import { Ranks, shareWork } from '../../../lib/ranks';

export type Done = { item: number; rank: number }[];

/** Shares items; one rank stops with its first item in hand, and says so. */
export async function main(
  { count, stops, seconds = 8 }: { count: number; stops: number; seconds?: number },
  say: (what: unknown) => void,
): Promise<Done> {
  const ranks = await Ranks.fromEnvironment({ timeoutSeconds: 120, heartbeatSeconds: 2 });
  const { rank } = ranks!;
  const results = await shareWork(ranks, count, async (item) => {
    if (rank === stops) {
      say('has one');
      // Its own heart goes on: a rank at work is not a dead one.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000 * seconds);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    return { item, rank };
  });
  await ranks!.close();
  return results;
}
