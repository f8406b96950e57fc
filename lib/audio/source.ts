import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { fileError } from '../files';
import { AudioError } from './error';
import { isPcmEncoding, joinBytes, PcmReader, type PcmEncoding } from './pcm';
import type { DecodedAudio } from './wav';

/**
 * Where audio comes from: a path; the bytes of a whole file; mono samples at 16 kHz; samples with
 * their rate; or a stream of samples.
 */
export type AudioSource = string | Uint8Array | Float32Array | AudioSamples | PcmStream;

/** Samples, nominally in [-1, 1]. */
export interface AudioSamples {
  /** Mono, or one array a channel, all of one length. */
  samples: Float32Array | readonly Float32Array[];
  /** Hz. */
  sampleRate: number;
}

/** Samples as they come: a microphone, a socket, the output of another program. */
export interface PcmStream {
  /** Bytes as `encoding` says, cut anywhere, or floats; channels interleaved. A Readable is one. */
  stream: AsyncIterable<Uint8Array | Float32Array>;
  /** Hz. */
  sampleRate: number;
  /** 1 by default. */
  channels?: number;
  /** What bytes mean, by ffmpeg's names: `s16le` by default. */
  encoding?: PcmEncoding;
}

/** Bytes of a file that are read and decoded at a time. */
export const pieceBytes = 65536;

/** What an error calls it. */
export function nameOf(source: AudioSource): string {
  return typeof source === 'string' ? source : 'the audio';
}

/** Whether it is a file, or the bytes of one, that must be decoded. */
export function isFile(source: AudioSource): source is string | Uint8Array {
  return typeof source === 'string' || source instanceof Uint8Array;
}

/** Bytes of a file; undefined for what is no file on a disk, such as a pipe. */
export async function sizeOf(source: string | Uint8Array): Promise<number | undefined> {
  if (typeof source !== 'string') return source.length;
  try {
    const found = await stat(source);
    return found.isFile() ? found.size : undefined;
  } catch (error) {
    throw fileError('read', source, error);
  }
}

/**
 * A file's bytes from one offset to before another, in pieces of {@link pieceBytes}, the last
 * shorter; those of a pipe are as it gives them.
 * @throws FileError if it cannot be read
 */
export async function* readRange(
  source: string | Uint8Array,
  from: number,
  to: number,
): AsyncGenerator<Uint8Array, void> {
  if (typeof source !== 'string') {
    for (let at = from; at < Math.min(to, source.length); at += pieceBytes) {
      // A file is waited for; without this, the event loop would not turn until all is decoded.
      if (at > from) await setImmediate();
      yield plain(source.subarray(at, Math.min(to, at + pieceBytes)));
    }
  } else if (from < to) {
    try {
      const range = from === 0 && to === Infinity ? {} : { start: from, end: to - 1 };
      const options = { ...range, highWaterMark: pieceBytes };
      const pieces = createReadStream(source, options) as AsyncIterable<Uint8Array>;
      for await (const piece of pieces) yield plain(piece);
    } catch (error) {
      throw fileError('read', source, error);
    }
  }
}

/** The same bytes, not as a Buffer: a slice of one is no copy. */
function plain({ buffer, byteOffset, byteLength }: Uint8Array | Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * The same bytes, cut such that no piece ends within a flac frame's header: audio-decode 3.12
 * overlooks a frame whose header two pieces share, which happens to one in some thousand.
 */
export async function* keepHeadersWhole(
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  let held: Uint8Array = new Uint8Array(0);
  for await (const piece of pieces) {
    const bytes = joinBytes(held, piece);
    const first = bytes.indexOf(0xff, Math.max(0, bytes.length - frameHeader));
    const end = first < 0 ? bytes.length : first;
    held = bytes.slice(end);
    if (end > 0) yield bytes.subarray(0, end);
  }
  if (held.length > 0) yield held;
}

/** Bytes of a flac frame's header at most; they begin with 0xff. */
const frameHeader = 16;

/**
 * Samples that need no decoding, as they come.
 * @throws AudioError if channels differ in length, or an option makes no sense
 */
export async function* readSamples(
  source: Float32Array | AudioSamples | PcmStream,
): AsyncGenerator<DecodedAudio, void> {
  if (source instanceof Float32Array) {
    yield { samples: [source], sampleRate: 16000 };
  } else if ('stream' in source) {
    yield* readStream(source);
  } else {
    const { sampleRate } = source;
    const samples = source.samples instanceof Float32Array ? [source.samples] : source.samples;
    if (samples.some(({ length }) => length !== samples[0]!.length)) {
      const lengths = samples.map(({ length }) => length).join(', ');
      throw new AudioError(`the channels have ${lengths} samples; give as many for each`);
    }
    yield { samples: [...samples], sampleRate };
  }
}

async function* readStream(source: PcmStream): AsyncGenerator<DecodedAudio, void> {
  const { stream, sampleRate, channels = 1, encoding = 's16le' } = source;
  if (!Number.isSafeInteger(channels) || channels < 1) {
    throw new AudioError(`a stream of ${channels} channels; give a whole number above 0`);
  }
  if (!isPcmEncoding(encoding)) {
    throw new AudioError(`no samples are encoded as ${String(encoding)}; give s16le, f32le …`);
  }
  const reader = new PcmReader(encoding, channels);
  const floats = new PcmReader('f32le', channels);
  for await (const chunk of stream) {
    const isFloat = chunk instanceof Float32Array;
    if (!isFloat && !(chunk instanceof Uint8Array)) {
      throw new AudioError('the stream gives neither bytes nor Float32Arrays; give one of them');
    }
    yield { samples: (isFloat ? floats : reader).push(plain(chunk)), sampleRate };
  }
}
