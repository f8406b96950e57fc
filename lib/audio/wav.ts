import { writeFileAtomic } from '../files';
import { AudioError } from './error';

/** Decoded audio. */
export interface DecodedAudio {
  /** One array a channel, all of one length, nominally in [-1, 1]. */
  samples: Float32Array[];
  /** Hz. */
  sampleRate: number;
}

const pcm = 1;
const ieeeFloat = 3;
const extensible = 0xfffe;

interface Format {
  tag: number;
  channels: number;
  sampleRate: number;
  bits: number;
}

/** Whether the bytes begin as a RIFF wave file. */
export function isWav(bytes: Uint8Array): boolean {
  return bytes.length >= 12 && ascii(bytes, 0) === 'RIFF' && ascii(bytes, 8) === 'WAVE';
}

/**
 * Decodes a RIFF wave file of 8, 16, 24 or 32-bit integers or 32 or 64-bit floats. Integers are
 * divided by 2^(bits - 1).
 *
 * @param name what to call the file in an error
 * @returns undefined if the samples are coded in another way (G.711, ADPCM)
 * @throws AudioError if the file is cut short or its header makes no sense
 */
export function decodeWav(bytes: Uint8Array, name: string): DecodedAudio | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let format: Format | undefined;
  for (let at = 12; at + 8 <= bytes.length;) {
    const id = ascii(bytes, at);
    const size = view.getUint32(at + 4, true);
    const body = at + 8;
    if (id === 'fmt ') {
      if (size < 16 || body + size > bytes.length) break;
      format = readFormat(view, body, size);
    } else if (id === 'data') {
      if (!format) break;
      // Programs that write to a pipe do not know the size: 0 or all ones, and data to the end.
      const streamed = size === 0xffffffff || (size === 0 && body < bytes.length);
      const present = bytes.length - body;
      if (!streamed && size > present) {
        throw new AudioError(
          `${name} is cut short: its header promises ${size} bytes of samples, ${present} are there; fetch or record it again`,
        );
      }
      return readSamples(view, body, streamed ? present : size, format, name);
    }
    at = body + size + (size % 2);
  }
  throw new AudioError(
    `${name} is a damaged wave file (no ${format ? 'samples' : 'format'} found); fetch or record it again`,
  );
}

function readFormat(view: DataView, at: number, size: number): Format {
  const format = {
    tag: view.getUint16(at, true),
    channels: view.getUint16(at + 2, true),
    sampleRate: view.getUint32(at + 4, true),
    bits: view.getUint16(at + 14, true),
  };
  if (format.tag === extensible && size >= 26) format.tag = view.getUint16(at + 24, true);
  return format;
}

function readSamples(
  view: DataView,
  start: number,
  size: number,
  { tag, channels, sampleRate, bits }: Format,
  name: string,
): DecodedAudio | undefined {
  const read = tag === pcm ? integers[bits] : tag === ieeeFloat ? floats[bits] : undefined;
  if (!read) return undefined;
  if (channels === 0 || sampleRate === 0) {
    throw new AudioError(
      `${name} is a damaged wave file (${channels} channels at ${sampleRate} Hz); fetch or record it again`,
    );
  }
  const bytes = bits / 8;
  const count = Math.floor(size / (bytes * channels));
  const samples = Array.from({ length: channels }, () => new Float32Array(count));
  for (let channel = 0; channel < channels; channel++) {
    const output = samples[channel]!;
    let at = start + channel * bytes;
    for (let i = 0; i < count; i++, at += bytes * channels) output[i] = read(view, at);
  }
  return { samples, sampleRate };
}

type Reader = (view: DataView, at: number) => number;

const integers: Record<number, Reader> = {
  8: (view, at) => (view.getUint8(at) - 128) / 128,
  16: (view, at) => view.getInt16(at, true) / 32768,
  24: (view, at) => (view.getInt8(at + 2) * 65536 + view.getUint16(at, true)) / 8388608,
  32: (view, at) => view.getInt32(at, true) / 2147483648,
};

const floats: Record<number, Reader> = {
  32: (view, at) => view.getFloat32(at, true),
  64: (view, at) => view.getFloat64(at, true),
};

/**
 * A mono wave file of 16-bit integers, the inverse of {@link decodeWav}. Samples outside [-1, 1)
 * are clipped.
 */
export function encodeWav(samples: Float32Array, rate: number): Uint8Array {
  const bytes = new Uint8Array(44 + 2 * samples.length);
  const view = new DataView(bytes.buffer);
  const text = (at: number, value: string): void => {
    for (let i = 0; i < value.length; i++) bytes[at + i] = value.charCodeAt(i);
  };
  text(0, 'RIFF');
  view.setUint32(4, bytes.length - 8, true);
  text(8, 'WAVEfmt ');
  view.setUint32(16, 16, true);
  view.setUint16(20, pcm, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, 'data');
  view.setUint32(40, 2 * samples.length, true);
  for (let i = 0; i < samples.length; i++) {
    const value = Math.round(samples[i]! * 32768);
    view.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, value)), true);
  }
  return bytes;
}

/**
 * Writes a mono 16-bit wave file, whole or not at all.
 * @param samples mono, [-1, 1); what is outside is clipped
 * @param rate Hz
 * @throws FileError if it cannot be written, AudioError if a sample is not a number
 */
export function writeWav(path: string, samples: Float32Array, rate: number): void {
  if (!samples.every(Number.isFinite)) {
    throw new AudioError(`cannot write ${path}: a sample is not a finite number`);
  }
  writeFileAtomic(path, encodeWav(samples, rate));
}

function ascii(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}
