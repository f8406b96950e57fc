import { writeFileAtomic } from '../files';
import { AudioError } from './error';
import { joinBytes, PcmReader, type PcmEncoding } from './pcm';

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

/**
 * What has more is a damaged header's, or a hostile one's: a few samples of 65,535 channels would take
 * as many arrays with every piece that is read.
 */
const mostChannels = 255;

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
 * Decodes a RIFF wave file, whose bytes come in pieces, of 8, 16, 24 or 32-bit integers or 32 or
 * 64-bit floats. Integers are divided by 2^(bits - 1).
 */
export class WavDecoder {
  /** Bytes of the header that are not understood yet. */
  #header: Uint8Array = new Uint8Array(0);
  /** Bytes of chunks without interest that are still to come. */
  #skip = 12;
  /** Bytes before the samples, as far as they were read. */
  #before = 0;
  #format: Format | undefined;
  #samples: { reader: PcmReader; sampleRate: number; left: number; promised: number } | undefined;

  /** @param name what to call the file in an error */
  constructor(readonly name: string) {}

  /**
   * @returns what `bytes` hold of the samples; undefined if they are coded in another way (G.711,
   *   ADPCM)
   * @throws AudioError if the header makes no sense
   */
  push(bytes: Uint8Array): DecodedAudio | undefined {
    if (this.#samples === undefined) {
      this.#header = joinBytes(this.#header, bytes);
      const body = this.#readHeader();
      if (body === undefined) return { samples: [], sampleRate: 0 };
      if (body === 'coded') return undefined;
      bytes = body;
    }
    const samples = this.#samples!;
    const wanted = bytes.subarray(0, Math.min(bytes.length, samples.left));
    samples.left -= wanted.length;
    return { samples: samples.reader.push(wanted), sampleRate: samples.sampleRate };
  }

  /** @throws AudioError if the file is cut short */
  end(): void {
    if (this.#samples === undefined) throw this.#damaged(this.#format ? 'no samples' : 'no format');
    const { left, promised } = this.#samples;
    if (left === 0 || promised === Infinity) return;
    throw new AudioError(
      `${this.name} is cut short: its header promises ${promised} bytes of samples, ${promised - left} are there; fetch or record it again`,
    );
  }

  /**
   * Seconds by the header, once that is read; undefined before.
   * @param fileBytes for one whose header leaves the size open
   */
  seconds(fileBytes: number): number | undefined {
    if (this.#samples === undefined || this.#format === undefined) return undefined;
    const { promised, sampleRate } = this.#samples;
    const { channels, bits } = this.#format;
    const bytes = Math.min(promised, fileBytes - this.#before);
    return Math.floor(bytes / ((channels * bits) / 8)) / sampleRate;
  }

  /** The bytes behind the header, as far as they are there; undefined while they are not. */
  #readHeader(): Uint8Array | 'coded' | undefined {
    for (;;) {
      const skipped = Math.min(this.#skip, this.#header.length);
      this.#header = this.#header.subarray(skipped);
      this.#skip -= skipped;
      this.#before += skipped;
      const header = this.#header;
      if (header.length < 8) return undefined;
      const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
      const id = ascii(header, 0);
      const size = view.getUint32(4, true);
      if (id === 'data') {
        if (!this.#format) throw this.#damaged('no format');
        this.#begin(this.#format, size);
        this.#before += 8;
        return header.subarray(8);
      }
      if (id === 'fmt ') {
        if (size < 16) throw this.#damaged('no format');
        if (header.length < Math.min(8 + size, 8 + formatBytes)) return undefined;
        this.#format = readFormat(view, 8, size);
        if (encodingOf(this.#format) === undefined) return 'coded';
      }
      this.#skip = 8 + size + (size % 2);
    }
  }

  #begin(format: Format, size: number): void {
    const { channels, sampleRate } = format;
    if (channels === 0 || channels > mostChannels || sampleRate === 0) {
      throw new AudioError(
        `${this.name} is a damaged wave file (${channels} channels at ${sampleRate} Hz); fetch or record it again`,
      );
    }
    // Programs that write to a pipe do not know the size: 0 or all ones, and data to the end.
    const promised = size === 0 || size === 0xffffffff ? Infinity : size;
    const reader = new PcmReader(encodingOf(format)!, channels);
    this.#samples = { reader, sampleRate, left: promised, promised };
    this.#header = new Uint8Array(0);
  }

  #damaged(missing: string): AudioError {
    return new AudioError(
      `${this.name} is a damaged wave file (${missing} found); fetch or record it again`,
    );
  }
}

/** What of a format chunk is read. */
const formatBytes = 26;

function readFormat(view: DataView, at: number, size: number): Format {
  const format = {
    tag: view.getUint16(at, true),
    channels: view.getUint16(at + 2, true),
    sampleRate: view.getUint32(at + 4, true),
    bits: view.getUint16(at + 14, true),
  };
  if (format.tag === extensible && size >= formatBytes) {
    format.tag = view.getUint16(at + 24, true);
  }
  return format;
}

function encodingOf({ tag, bits }: Format): PcmEncoding | undefined {
  return tag === pcm ? integers[bits] : tag === ieeeFloat ? floats[bits] : undefined;
}

const integers: Record<number, PcmEncoding> = { 8: 'u8', 16: 's16le', 24: 's24le', 32: 's32le' };
const floats: Record<number, PcmEncoding> = { 32: 'f32le', 64: 'f64le' };

/**
 * A mono wave file of 16-bit integers, which `decodeAudio` reads again. Samples outside [-1, 1)
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
