import { binding, ok } from '../binding';
import type { Tensor } from '../tensor';

/** Scales gradients so that their global 2-norm is at most `maxNorm`; returns the norm before. */
export function clipGradNorm(parameters: readonly Tensor[], maxNorm: number): number {
  const ids = parameters.map((p) => p.id);
  return ok(binding.clipGradNorm(ids, maxNorm));
}
