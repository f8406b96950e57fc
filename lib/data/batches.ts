import { seededRandom } from './random';

/**
 * Indices in batches of similar length, the batches in random order: little is padded, and every
 * epoch is another draw. The result depends on its arguments alone, so a run that is resumed at
 * an epoch's middle sees the same batches.
 * @param lengths of the items, in any unit
 */
export function bucketBatches(
  lengths: readonly number[],
  batchSize: number,
  seed: number,
  epoch: number,
): number[][] {
  const random = seededRandom(`batches ${seed} ${epoch}`);
  // Shuffling inside pools of several batches, then sorting a pool, mixes neighbours anew each time.
  const pool = batchSize * 16;
  const order = random.shuffled(Array.from(lengths.keys()));
  const batches: number[][] = [];
  for (let start = 0; start < order.length; start += pool) {
    const sorted = order.slice(start, start + pool).sort((a, b) => lengths[a]! - lengths[b]!);
    for (let at = 0; at < sorted.length; at += batchSize) {
      batches.push(sorted.slice(at, at + batchSize));
    }
  }
  return random.shuffled(batches);
}
