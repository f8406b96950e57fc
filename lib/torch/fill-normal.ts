import { binding, ok } from './binding';
import { dtypeCode, type DType } from './dtype';

/**
 * Fills bytes with random values of mean 0, about normal (none is beyond 3.5 deviations), on all
 * threads. Each depends on the seed and its number alone: pieces of any size give the same values.
 * @param dtype float32, bfloat16 or float16
 * @param options.first number of the first value
 */
export function fillNormal(
  bytes: Uint8Array,
  dtype: DType,
  options: { seed: number; first: number; deviation: number },
): void {
  const { seed, first, deviation } = options;
  ok(binding.fillNormal(bytes, dtypeCode(dtype), seed, first, deviation));
}
