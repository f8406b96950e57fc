import fc from 'fast-check';
import { bucketBatches } from '../../lib/data';

const corpora = fc.record({
  lengths: fc.array(fc.nat(3000), { minLength: 1, maxLength: 1500 }),
  batchSize: fc.integer({ min: 1, max: 40 }),
  seed: fc.nat(1000),
  epoch: fc.nat(3),
  perBlock: fc.option(fc.integer({ min: 1, max: 100 }), { nil: undefined }),
});
const settings = { seed: 7, numRuns: 60 };

function blocksOf(lengths: readonly number[], size: number | undefined): number[] | undefined {
  return size === undefined ? undefined : lengths.map((_, i) => Math.floor(i / size));
}

test('an epoch has each item once, in batches of the size, and is the same again', () => {
  fc.assert(
    fc.property(corpora, ({ lengths, batchSize, seed, epoch, perBlock }) => {
      const blocks = blocksOf(lengths, perBlock);
      const batches = bucketBatches(lengths, batchSize, seed, epoch, blocks);
      expect(batches.flat().sort((a, b) => a - b)).toEqual([...lengths.keys()]);
      expect(batches).toHaveLength(Math.ceil(lengths.length / batchSize));
      expect(batches.filter(({ length }) => length !== batchSize).length).toBeLessThan(2);
      expect(bucketBatches(lengths, batchSize, seed, epoch, blocks)).toEqual(batches);
    }),
    settings,
  );
});

test('another seed or epoch is another order', () => {
  const lengths = Array.from({ length: 200 }, (_, i) => (i * 37) % 100);
  for (const blocks of [undefined, lengths.map((_, i) => Math.floor(i / 10))]) {
    const orders = [
      [1, 0],
      [1, 1],
      [2, 0],
    ].map(([seed, epoch]) => JSON.stringify(bucketBatches(lengths, 8, seed!, epoch!, blocks)));
    expect(new Set(orders).size).toBe(3);
  }
});

test('blocks are left for good after a pool: few are needed at a time', () => {
  const lengths = Array.from({ length: 20_000 }, (_, i) => (i * 7919) % 3000);
  const blocks = lengths.map((_, i) => Math.floor(i / 50));
  const order = bucketBatches(lengths, 8, 1, 0, blocks).flat();
  const first = new Map<number, number>();
  const last = new Map<number, number>();
  for (const [at, index] of order.entries()) {
    if (!first.has(blocks[index]!)) first.set(blocks[index]!, at);
    last.set(blocks[index]!, at);
  }
  const spans = [...first].map(([block, at]) => last.get(block)! - at);
  // Two pools of 512, where a block lies across their border.
  expect(Math.max(...spans)).toBeLessThan(2 * 512);
  // And they are mixed: neighbours in the order are of many blocks.
  expect(new Set(order.slice(0, 64).map((index) => blocks[index])).size).toBeGreaterThan(8);
});
