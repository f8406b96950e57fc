import { emptyCache, memoryStats, scope, zeros } from '../../lib/torch';

const megabyte = 2 ** 20;

/** float32 [2^18 n] */
const ofMegabytes = (n: number) => zeros([(n * megabyte) / 4]);

/** Bytes of this process that are in memory. */
const resident = (): number => process.memoryUsage.rss();

beforeEach(() => {
  emptyCache();
  expect(memoryStats().reserved).toBe(memoryStats().allocated);
});

test('a large tensor takes the memory of one that is gone, and is what it should be', () => {
  const before = memoryStats();
  const first = ofMegabytes(64);
  first.fill_(1);
  expect(memoryStats().allocated).toBe(before.allocated + 64 * megabyte);
  first.dispose();
  expect(memoryStats()).toEqual({ ...before, reserved: before.reserved + 64 * megabyte });
  const second = ofMegabytes(60);
  expect(memoryStats().reserved).toBe(before.reserved + 64 * megabyte);
  expect(second.sum().item()).toBe(0);
  second.dispose();
});

test('nothing is kept beyond what was once in use', () => {
  const { reserved } = memoryStats();
  scope(() => {
    for (let size = 2; size <= 64; size *= 2) ofMegabytes(size).dispose();
  });
  expect(memoryStats().reserved).toBe(reserved + 64 * megabyte);
  // Too large for any that is kept; the oldest of these go for it.
  ofMegabytes(128).dispose();
  expect(memoryStats().reserved).toBe(reserved + 128 * megabyte);
});

test('a small tensor is not in it', () => {
  const before = memoryStats();
  const small = zeros([1000]);
  expect(memoryStats()).toEqual(before);
  small.dispose();
});

test('what is idle goes back to the system: when asked, and in ten seconds by itself', async () => {
  const { reserved } = memoryStats();
  const before = resident();
  ofMegabytes(256).dispose();
  expect(resident() - before).toBeGreaterThan(200 * megabyte);
  emptyCache();
  expect(memoryStats().reserved).toBe(reserved);
  expect(resident() - before).toBeLessThan(50 * megabyte);

  ofMegabytes(256).dispose();
  const kept = memoryStats().reserved;
  expect(kept).toBe(reserved + 256 * megabyte);
  while (memoryStats().reserved === kept) await new Promise((done) => setTimeout(done, 100));
  expect(memoryStats().reserved).toBe(reserved);
});

test('more than there is: one line, and what was idle is free for others', () => {
  const { allocated } = memoryStats();
  expect(() => zeros([2 ** 50])).toThrow(
    /there is no memory for a tensor of 4503599627370496 bytes/,
  );
  expect(memoryStats()).toEqual({ allocated, reserved: allocated });
  // Nor does it count as once in use.
  scope(() => {
    for (let size = 2; size <= 16; size *= 2) ofMegabytes(size).dispose();
  });
  expect(memoryStats().reserved).toBe(allocated + 16 * megabyte);
});
