import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tensor, type DType, type Tensor } from '../../lib/torch';
import type { BlockSize, FloatDType } from '../../lib/nf4';

/** Made by test/oracle/nf4.py with bitsandbytes; base64 where a field holds a tensor's bytes. */
export interface Vectors {
  codebook: string;
  dynamicMap: string;
  plain: {
    dtype: FloatDType;
    blockSize: BlockSize;
    count: number;
    seed: number;
    packedShape: number[];
    packed: string;
    absmax: string;
    dequantizedSha256: string;
  }[];
  nested: {
    dtype: FloatDType;
    shape: [number, number];
    blockSize: BlockSize;
    seed: number;
    peakEvery: number;
    exactMean: boolean;
    packedSha256: string;
    quantState: string;
    entries: { absmax: string; nested_absmax: string };
    dequantizedSha256: string;
  }[];
  special: {
    title: string;
    dtype: FloatDType;
    values: string;
    packed: string;
    absmax: string;
    dequantized: string;
    nestedCodes: string;
    nestedAbsmax: string;
    quantState: string;
  }[];
  linear: {
    dtype: FloatDType;
    batch: number;
    shape: [number, number];
    y: string;
    xGrad: string;
    biasGrad: string | null;
  }[];
  checkpoint: { keys: string[]; dequantizedSha256: string };
}

const folder = join(__dirname, '../oracle/vectors');

export const vectors: Vectors = JSON.parse(
  readFileSync(join(folder, 'nf4.json'), 'utf8'),
) as Vectors;

export const checkpointPath: string = join(folder, 'nf4.safetensors');

/** The numbers of `values` in test/oracle/nf4.py. */
export function values(count: number, seed: number, peakEvery: number = 0): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => {
    const peak = i / peakEvery;
    if (peakEvery > 0 && Number.isInteger(peak)) {
      return ((peak % 3 === 1 ? -1 : 1) * (257 + ((peak * 37) % 700))) / 256;
    }
    let bits = (Math.imul(i, 2654435761) + Math.imul(seed, 40503)) >>> 0;
    bits = Math.imul(bits ^ (bits >>> 15), 2246822519) >>> 0;
    bits = (bits ^ (bits >>> 13)) >>> 8;
    const u = bits / 2 ** 23 - 1;
    return u * u * u;
  });
}

/** The same as a tensor, rounded to `dtype`. */
export function valuesTensor(
  shape: readonly number[],
  dtype: DType,
  seed: number,
  peakEvery?: number,
): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  return tensor(values(count, seed, peakEvery), { shape, dtype });
}

export function base64(value: Tensor): string {
  return Buffer.from(value.toBytes()).toString('base64');
}

export function sha256(value: Tensor): string {
  return createHash('sha256').update(value.toBytes()).digest('hex');
}

export function float32(encoded: string): Float32Array {
  const bytes = Buffer.from(encoded, 'base64');
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(i * 4));
}

/** The largest difference, relative to the largest value expected. */
export function relativeError(actual: Tensor, expected: ArrayLike<number>): number {
  const have = actual.toArray();
  expect(have).toHaveLength(expected.length);
  let scale = 0;
  let error = 0;
  for (const [i, value] of have.entries()) {
    scale = Math.max(scale, Math.abs(expected[i]!));
    const difference = Math.abs(value - expected[i]!);
    if (Number.isNaN(difference)) return NaN;
    error = Math.max(error, difference);
  }
  return error / scale;
}
