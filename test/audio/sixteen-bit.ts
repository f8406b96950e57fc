import { readFileSync } from 'node:fs';

/** Reads raw 16-bit samples as floats in [-1, 1). */
export function sixteenBit(path: string): Float32Array {
  const bytes = readFileSync(path);
  return Float32Array.from(
    { length: bytes.length / 2 },
    (_, i) => bytes.readInt16LE(2 * i) / 32768,
  );
}
