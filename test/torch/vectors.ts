/** What PyTorch gave (test/oracle/torch_ops.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tensor, type DType, type Tensor } from '../../lib/torch';

export interface Encoded {
  dtype: DType;
  shape: number[];
  values: number[];
}

interface Vectors {
  inputs: Record<string, Encoded>;
  operations: Record<string, Encoded>;
  generators: Record<string, Encoded>;
  adamw: {
    start: Record<'x' | 'target' | 'weight' | 'bias', Encoded>;
    maxNorm: number;
    steps: { lr: number; loss: number; norm: number; weight: number[]; bias: number[] }[];
  };
}

export const vectors: Vectors = JSON.parse(
  readFileSync(join(__dirname, '../oracle/vectors/torch.json'), 'utf8'),
) as Vectors;

export function decode({ dtype, shape, values }: Encoded): Tensor {
  return tensor(values, { dtype, shape });
}

/** Same dtype and shape; integers and half-width floats exactly, the others to rounding. */
export function expectEncoded(actual: Tensor, expected: Encoded): void {
  expect({ dtype: actual.dtype, shape: actual.shape }).toEqual({
    dtype: expected.dtype,
    shape: expected.shape,
  });
  expectClose(actual.toArray(), expected.values, expected.dtype === 'float32' ? 2e-6 : 0);
}

/** Within `tolerance`, relative to values over 1. */
export function expectClose(
  actual: readonly number[],
  expected: readonly number[],
  tolerance: number,
): void {
  expect(actual).toHaveLength(expected.length);
  for (const [i, want] of expected.entries()) {
    const difference = Math.abs(actual[i]! - want);
    if (!(difference <= tolerance * Math.max(1, Math.abs(want)))) {
      throw new Error(`element ${i}: ${actual[i]}, expected ${want}, in [${actual}]`);
    }
  }
}
