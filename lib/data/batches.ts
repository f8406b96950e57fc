import type { Corpus, Utterance } from './corpus';
import { seededRandom } from './random';

/**
 * Indices in batches of similar length, the batches in random order: little is padded, and every
 * epoch is another draw. The result depends on its arguments alone, so a run that is resumed at
 * an epoch's middle sees the same batches.
 *
 * Items of a block are read together. Given blocks, these are shuffled as wholes, and items and
 * batches among some blocks that follow each other: a pool's blocks need to be in memory, no more.
 * @param lengths of the items, in any unit
 * @param blocks of the items, by number; without them every item is shuffled among all
 */
export function bucketBatches(
  lengths: readonly number[],
  batchSize: number,
  seed: number,
  epoch: number,
  blocks?: readonly number[],
): number[][] {
  const random = seededRandom(`batches ${seed} ${epoch}`);
  // Shuffling inside pools of several batches, then sorting a pool, mixes neighbours anew each time.
  const inPool = batchSize * 16;
  if (blocks === undefined) {
    const order = random.shuffled(Array.from(lengths.keys()));
    return random.shuffled(pools(order, inPool).flatMap((pool) => cut(pool, lengths, batchSize)));
  }
  const members = new Map<number, number[]>();
  for (const [index, block] of blocks.entries()) {
    const others = members.get(block);
    if (others === undefined) members.set(block, [index]);
    else others.push(index);
  }
  const order = random.shuffled([...members.values()]).flat();
  return pools(order, Math.ceil(poolItems / inPool) * inPool).flatMap((pool) => {
    const mixed = pools(random.shuffled(pool), inPool);
    return random.shuffled(mixed.flatMap((part) => cut(part, lengths, batchSize)));
  });
}

/** Items at least among which those of blocks are mixed. */
const poolItems = 512;

function pools(order: readonly number[], size: number): number[][] {
  const parts: number[][] = [];
  for (let at = 0; at < order.length; at += size) parts.push(order.slice(at, at + size));
  return parts;
}

/** Batches of neighbours in length. */
function cut(pool: readonly number[], lengths: readonly number[], batchSize: number): number[][] {
  return pools(
    [...pool].sort((a, b) => lengths[a]! - lengths[b]!),
    batchSize,
  );
}

/** Neighbours of a corpus in blocks among which {@link readingOrder} sorts. */
const window = 1024;

/**
 * Indices by length, so that neighbours make a batch with little padding; of a corpus in blocks,
 * by length among those that lie near each other.
 */
export function readingOrder(
  corpus: Pick<Corpus, 'blockOf'>,
  utterances: readonly Utterance[],
  lengths: readonly number[],
): number[] {
  const isInBlocks = utterances.some((utterance) => corpus.blockOf(utterance) !== undefined);
  const size = isInBlocks ? window : Infinity;
  return pools([...lengths.keys()], size).flatMap((part) => cut(part, lengths, Infinity).flat());
}
