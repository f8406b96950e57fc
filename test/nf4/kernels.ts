/** What the tests of the kernels share: instruction sets, values, and how far sums may be off. */
import fc from 'fast-check';
import type { BlockSize, FloatDType } from '../../lib/nf4';
import type { Tensor } from '../../lib/torch';
import { binding } from '../../lib/torch/binding';
import { values } from './vectors';

/** Those of this processor, the portable ones first. */
export const paths: string[] = binding.nf4CpuPaths();
export const chosen: string = binding.nf4CpuPath()!;

export function on<T>(path: string, body: () => T): T {
  expect(binding.nf4UseCpuPath(path)).toBe(true);
  return body();
}

const dtypes: FloatDType[] = ['float32', 'bfloat16', 'float16'];
export const dtype: fc.Arbitrary<FloatDType> = fc.constantFrom(...dtypes);
export const blockSize: fc.Arbitrary<BlockSize> = fc.constantFrom<BlockSize>(
  32,
  64,
  128,
  256,
  512,
  1024,
  2048,
  4096,
);
export const seed: fc.Arbitrary<number> = fc.integer({ min: 1, max: 1e6 });
/** Of values: whole blocks and vectors are as likely as ragged ones. */
export const count: fc.Arbitrary<number> = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.integer({ min: 1, max: 12_000 }),
  fc.integer({ min: 1, max: 40 }).map((blocks) => blocks * 256),
);

/** Where thresholds, roundings and empty blocks decide, and what is no number. */
const special = fc.constantFrom(
  ...[0, -0, 1, -1, 0.3, 1e-38, -1e-39, 2e-45, 3e38, -3e38, 65504, 6e-8, NaN, Infinity, -Infinity],
);
/** Few, since one infinity decides over its block; at positions modulo the count. */
export const specials: fc.Arbitrary<[number, number][]> = fc.array(fc.tuple(fc.nat(), special), {
  maxLength: 6,
});

export function source(n: number, from: number, at: [number, number][], scale = 1): Float32Array {
  const result = values(n, from).map((x) => x * scale);
  for (const [position, value] of at) result[position % n] = value;
  return result;
}

export function check<T>(property: fc.IProperty<T>, numRuns: number): void {
  fc.assert(property, { seed: 42, numRuns });
}

/** Half a unit in the last place: relative, and the least. */
export const roundings = {
  float32: [2 ** -24, 2 ** -150],
  bfloat16: [2 ** -8, 2 ** -134],
  float16: [2 ** -11, 2 ** -25],
} as const;

/**
 * How far sums of products are from those in float64, in units of what their roundings explain.
 * @param weightRounding what a decoded weight is rounded by before it is multiplied
 */
export function error(
  y: Tensor,
  a: number[],
  b: (k: number, n: number) => number,
  bias: number[] | undefined,
  weightRounding: number,
): number {
  const [rows, columns] = y.shape as [number, number];
  const [relative, least] = roundings[y.dtype as FloatDType];
  const inner = a.length / rows;
  let worst = 0;
  for (const [i, have] of y.toArray().entries()) {
    const [m, n] = [Math.floor(i / columns), i % columns];
    let sum = bias?.[n] ?? 0;
    let terms = Math.abs(sum);
    let factors = 0;
    for (let k = 0; k < inner; k++) {
      const [left, right] = [a[m * inner + k]!, b(k, n)];
      sum += left * right;
      terms += Math.abs(left * right);
      factors += 1 + Math.abs(left) + Math.abs(right);
    }
    // Which of the two it is depends on the order of the products.
    if (!Number.isFinite(sum) && !Number.isFinite(have)) continue;
    const explained =
      terms * (Math.sqrt(inner + 16) * roundings.float32[0] + weightRounding) +
      Math.abs(sum) * relative +
      least +
      // Each subnormal term is rounded by as much as any other; products of bfloat16 in one
      // instruction take subnormals for 0.
      (inner + 16) * roundings.float32[1] +
      (weightRounding > 0 ? factors * 2 ** -126 : 0);
    const ratio = Math.abs(have - sum) / explained;
    if (Number.isNaN(ratio)) return NaN;
    worst = Math.max(worst, ratio);
  }
  return worst;
}
