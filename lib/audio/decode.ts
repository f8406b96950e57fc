import { CodecSession } from './codec-process';
import { Completeness } from './completeness';
import { AudioError } from './error';
import { divideAsWav, flacBits } from './flac-integers';
import { isMp4, tableFirst } from './mp4';
import { joinBytes } from './pcm';
import { concatenate, Resampler } from './resample';
import {
  isFile,
  keepHeadersWhole,
  nameOf,
  readRange,
  readSamples,
  sizeOf,
  type AudioSource,
} from './source';
import { isWav, WavDecoder, type DecodedAudio } from './wav';

/** Rates beyond are a damaged header's. Hz. */
const [lowestRate, highestRate] = [1000, 768_000];

/**
 * Decodes wav, flac, mp3, ogg, opus or m4a (and what else `audio-decode` knows: aiff, webm …) at its
 * own rate and channel count.
 *
 * @throws FileError if the file cannot be read
 * @throws AudioError if it is empty, damaged, cut short, no audio, of length zero, or has samples
 *   that are not finite numbers
 */
export async function decodeAudio(source: AudioSource): Promise<DecodedAudio> {
  const pieces: DecodedAudio[] = [];
  for await (const piece of decodePieces(source)) pieces.push(piece);
  const { sampleRate } = pieces[0]!;
  // A codec may give one channel where for a time both are equal.
  const channels = Math.max(...pieces.map(({ samples }) => samples.length));
  const samples = Array.from({ length: channels }, (_, channel) =>
    concatenate(pieces.map((piece) => piece.samples[channel % piece.samples.length]!)),
  );
  return { samples, sampleRate };
}

/**
 * {@link decodeAudio} piece by piece, with memory for a piece or two, however long the audio is.
 * The rate is the same in all pieces, and none is empty.
 *
 * @throws as {@link decodeAudio}, for some damage after the pieces before it
 */
export async function* decodePieces(source: AudioSource): AsyncGenerator<DecodedAudio, void> {
  const name = nameOf(source);
  let sampleRate: number | undefined;
  for await (const piece of isFile(source) ? decodeFile(source, name) : readSamples(source)) {
    if (!piece.samples[0]?.length) continue;
    checkPiece(piece, sampleRate, name);
    sampleRate = piece.sampleRate;
    yield piece;
  }
  if (sampleRate === undefined) {
    throw new AudioError(`${name} has no samples; leave it out or record it again`);
  }
}

function checkPiece(
  { samples, sampleRate }: DecodedAudio,
  before: number | undefined,
  name: string,
) {
  if (!(sampleRate >= lowestRate && sampleRate <= highestRate && Number.isInteger(sampleRate))) {
    throw new AudioError(
      `${name} has a sampling rate of ${sampleRate} Hz, which is none of sound; give it again with its own rate`,
    );
  }
  if (before !== undefined && sampleRate !== before) {
    throw new AudioError(
      `${name} changes its sampling rate from ${before} to ${sampleRate} Hz; write it again at one rate`,
    );
  }
  if (!samples.every((channel) => channel.every(Number.isFinite))) {
    throw new AudioError(
      `${name} has samples that are not finite numbers; write it again with valid samples`,
    );
  }
}

async function* decodeFile(
  source: string | Uint8Array,
  name: string,
): AsyncGenerator<DecodedAudio, void> {
  const pieces = readRange(source, 0, Infinity);
  const first = await pieces.next();
  if (first.done) {
    throw new AudioError(`${name} is empty (0 bytes); give a wav, flac, mp3, ogg or m4a file`);
  }
  // Pipes give what they have; a header must not be cut.
  let head = first.value;
  for (let more; head.length < 64 && !(more = await pieces.next()).done;) {
    head = joinBytes(head, more.value);
  }
  const size = isMp4(head) ? await sizeOf(source) : undefined;
  if (size !== undefined) {
    await pieces.return();
    yield* decodeCompressed(tableFirst(source, size, name), name);
    return;
  }
  const bytes = chain(head, pieces);
  yield* isWav(head) ? decodeWav(bytes, name) : decodeCompressed(bytes, name);
}

async function* chain(
  first: Uint8Array,
  others: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  yield first;
  yield* others;
}

async function* decodeWav(
  pieces: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<DecodedAudio, void> {
  const decoder = new WavDecoder(name);
  let isFirst = true;
  for await (const bytes of pieces) {
    const audio = decoder.push(bytes);
    if (audio === undefined && isFirst) {
      yield* decodeCompressed(chain(bytes, pieces), name);
      return;
    }
    if (audio === undefined) {
      throw new AudioError(
        `${name} tells only after 64 kB how its samples are coded; write it again as plain wav`,
      );
    }
    isFirst = false;
    yield audio;
  }
  decoder.end();
}

async function* decodeCompressed(
  pieces: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<DecodedAudio, void> {
  const session = new CodecSession();
  const completeness = new Completeness();
  let decoded = 0;
  let isFirst = true;
  let bits: number | undefined;
  const ask = async (answer: Promise<DecodedAudio>): Promise<DecodedAudio> => {
    try {
      const audio = await answer;
      decoded += audio.samples[0]?.length ?? 0;
      if (bits !== undefined) divideAsWav(audio.samples, bits);
      return audio;
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new AudioError(
        `${name} cannot be decoded as audio (${reason}); give a whole wav, flac, mp3, ogg or m4a file`,
        { cause },
      );
    }
  };
  try {
    for await (const bytes of keepHeadersWhole(pieces)) {
      completeness.see(bytes);
      if (isFirst) bits = flacBits(bytes);
      isFirst = false;
      yield await ask(session.push(bytes));
    }
    yield await ask(session.end());
  } finally {
    session.close();
  }
  const complaint = completeness.complaint(decoded);
  if (complaint !== undefined) {
    throw new AudioError(`${name} is cut short or damaged: ${complaint}; fetch it again`);
  }
  if (decoded === 0) {
    throw new AudioError(
      `${name} cannot be decoded as audio (no samples come of it); give a whole wav, flac, mp3, ogg or m4a file`,
    );
  }
}

/** The mean of the channels. */
export function toMono(samples: readonly Float32Array[]): Float32Array {
  const [first, ...others] = samples;
  if (!first) throw new AudioError('no channels to mix; give at least one');
  const mono = first.slice();
  if (others.length === 0) return mono;
  for (const channel of others) {
    for (let i = 0; i < mono.length; i++) mono[i] = mono[i]! + channel[i]!;
  }
  for (let i = 0; i < mono.length; i++) mono[i] = mono[i]! / samples.length;
  return mono;
}

/**
 * Reads audio as the model wants it: mono, at `sampleRate`.
 *
 * @param sampleRate Hz
 * @throws FileError, AudioError as {@link decodeAudio}
 */
export async function loadAudio(source: AudioSource, sampleRate = 16000): Promise<Float32Array> {
  const pieces: Float32Array[] = [];
  for await (const piece of streamAudio(source, sampleRate)) pieces.push(piece);
  return concatenate(pieces);
}

/**
 * {@link loadAudio} piece by piece: the same samples, with memory for a piece or two.
 * @throws as {@link decodePieces}
 */
export async function* streamAudio(
  source: AudioSource,
  sampleRate = 16000,
): AsyncGenerator<Float32Array, void> {
  let resampler: Resampler | undefined;
  for await (const piece of decodePieces(source)) {
    resampler ??= new Resampler(piece.sampleRate, sampleRate);
    yield resampler.push(toMono(piece.samples));
  }
  yield resampler!.end();
}
