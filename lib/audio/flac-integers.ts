/** A flac file's integers, which audio-decode divides by other numbers than everybody else does. */
import { startsWith } from './completeness';

/** Beyond, a float32 does not hold the integer. */
const mostBits = 24;

/**
 * Bits of a flac file's samples, as its beginning (STREAMINFO) says.
 * @returns undefined for any other file, and for more bits than a float32 holds
 */
export function flacBits(head: Uint8Array): number | undefined {
  if (!startsWith(head, 0, 'fLaC') || head.length < 22) return undefined;
  const bits = ((head[20]! & 1) << 4) + (head[21]! >> 4) + 1;
  return bits <= mostBits ? bits : undefined;
}

/**
 * audio-decode 3.12 divides integers by 2^(bits - 1) - 1, so that -32768 becomes -1.00003; libsndfile,
 * and with it Python's soundfile, by 2^(bits - 1), as `WavDecoder` does. Up to 24 bits the quotient
 * tells the integer; a sample that is the quotient of none stays as it is.
 */
export function divideAsWav(channels: readonly Float32Array[], bits: number): void {
  const divisor = 2 ** (bits - 1);
  for (const samples of channels) {
    for (let i = 0; i < samples.length; i++) {
      const integer = Math.round(samples[i]! * (divisor - 1));
      if (Math.fround(integer / (divisor - 1)) === samples[i]) samples[i] = integer / divisor;
    }
  }
}
