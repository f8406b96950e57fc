/** Recordings of any length: cut into what the model's window holds, translated, joined. */
import { AudioError, Segmenter, streamAudio, type AudioSegment, type AudioSource } from '../audio';
import type { SegmentOptions } from '../audio';
import { named } from '../errors';
import { dropRepeated, joinTexts } from '../text';
import { audioTokenCount } from './lengths';
import type { BatchRequest, Translation } from './translation';
import type { SpeechTranslator } from './translator';

export interface RecordingRequest extends BatchRequest {
  /**
   * Cuts at pauses also what the model's window holds whole, or says how to cut. What is longer is
   * always cut.
   */
  segments?: boolean | SegmentOptions;
  /** Hears each segment in its order, as soon as it is certain. */
  onSegment?: (segment: TranslatedSegment, index: number) => void;
  /** Hears at the beginning and after each recording. */
  onProgress?: (done: number, total: number) => void;
}

/** A stretch of a recording and what is said in it. */
export interface TranslatedSegment {
  /** Seconds from the beginning of the recording. Segments follow each other or overlap. */
  start: number;
  end: number;
  /** Empty where nobody speaks. */
  text: string;
  tokenIds: number[];
  /** Nobody speaks: it was not given to the model, which would invent something. */
  silent: boolean;
}

/** `tokenIds` are those of all segments, `seconds` the time of translating, without reading. */
export interface RecordingTranslation extends Translation {
  /** Seconds of the recording. */
  duration: number;
  /** Nobody speaks in the whole recording. */
  silent: boolean;
  /** They cover the recording; one where it was not cut. */
  segments: TranslatedSegment[];
}

/** What came of one recording. */
export type RecordingOutcome =
  | { index: number; translation: RecordingTranslation; error?: undefined }
  | { index: number; translation?: undefined; error: unknown };

const rate = 16000;
const melHop = 160;

/**
 * Translates recordings of any length and goes on where one cannot be read: gives an outcome for
 * each, in their order. Pieces of several recordings share a batch; memory is that of a batch of
 * pieces, however long the recordings and however many.
 */
export async function* translateRecordings(
  translator: SpeechTranslator,
  sources: readonly AudioSource[],
  request: RecordingRequest,
): AsyncGenerator<RecordingOutcome, void> {
  const { onProgress, onSegment } = request;
  let seams = new Seams();
  let failure: { error: unknown } | undefined;
  onProgress?.(0, sources.length);
  for await (const event of translatePieces(translator, sources, request)) {
    const { index } = event;
    if ('error' in event) failure ??= event;
    else if ('piece' in event && !failure) {
      for (const segment of seams.push(event)) onSegment?.(segment, index);
    } else if ('duration' in event) {
      for (const segment of failure ? [] : seams.end()) onSegment?.(segment, index);
      const { duration } = event;
      yield failure
        ? { index, error: failure.error }
        : { index, translation: seams.translation(duration) };
      [seams, failure] = [new Seams(), undefined];
      onProgress?.(index + 1, sources.length);
    }
  }
}

/**
 * The segments of one recording, each as soon as it is certain: of a stream, while it is heard.
 * `batchSize` is how many segments are waited for, 1 by default.
 * @throws as `SpeechTranslator.translate`
 */
export async function* translateSegments(
  translator: SpeechTranslator,
  source: AudioSource,
  request: RecordingRequest,
): AsyncGenerator<TranslatedSegment, void> {
  const options = { segments: true, batchSize: 1, ...request };
  const seams = new Seams();
  for await (const event of translatePieces(translator, [source], options)) {
    if ('error' in event) throw event.error;
    if ('piece' in event) yield* seams.push(event);
  }
  yield* seams.end();
}

/** A piece of a recording, and what the model says to it: nothing if it is silent. */
interface TranslatedPiece {
  index: number;
  piece: AudioSegment;
  translation: Translation;
}

/** What comes of recordings in their order; each ends with its duration, whatever came before. */
type PieceEvent =
  TranslatedPiece | { index: number; error: unknown } | { index: number; duration: number };

const nothing: Translation = { text: '', tokenIds: [], seconds: 0 };

async function* translatePieces(
  translator: SpeechTranslator,
  sources: readonly AudioSource[],
  request: RecordingRequest,
): AsyncGenerator<PieceEvent, void> {
  const { batchSize = 8, signal } = request;
  const window = translator.processor.windowFrames * melHop;
  let waiting: PieceEvent[] = [];
  let speech = 0;
  for (const [index, source] of sources.entries()) {
    for await (const event of hear(index, source, window, request)) {
      signal?.throwIfAborted();
      waiting.push(event);
      if ('piece' in event && !event.piece.silent) speech++;
      const isEnd = 'duration' in event && (speech === 0 || index === sources.length - 1);
      if (speech < batchSize && !isEnd) continue;
      yield* await translateWaiting(translator, waiting, request);
      [waiting, speech] = [[], 0];
    }
  }
}

/** A recording's pieces, not translated yet; what is wrong with it, if anything; its duration. */
async function* hear(
  index: number,
  source: AudioSource,
  window: number,
  request: RecordingRequest,
): AsyncGenerator<PieceEvent, void> {
  let duration = 0;
  try {
    for await (const piece of cut(source, window, request)) {
      duration = piece.end / rate;
      yield { index, piece, translation: nothing };
    }
  } catch (error) {
    yield { index, error: typeof source === 'string' ? named(source, error) : error };
  }
  yield { index, duration };
}

/** The events, those of speech with its translation. */
async function translateWaiting(
  translator: SpeechTranslator,
  waiting: readonly PieceEvent[],
  request: RecordingRequest,
): Promise<PieceEvent[]> {
  const spoken = waiting.filter((event) => 'piece' in event).filter(({ piece }) => !piece.silent);
  const results = new Map<PieceEvent, PieceEvent>();
  const audios = spoken.map(({ piece }) => piece.samples);
  const options = { ...request, onProgress: undefined };
  for await (const outcome of translator.translateEach(audios, options)) {
    const event = spoken[outcome.index]!;
    const { translation, error } = outcome;
    results.set(event, translation ? { ...event, translation } : { index: event.index, error });
  }
  return waiting.map((event) => results.get(event) ?? event);
}

/** The pieces of a recording: all of it, if the window holds it and nothing else is asked for. */
async function* cut(
  source: AudioSource,
  window: number,
  { segments, signal }: RecordingRequest,
): AsyncGenerator<AudioSegment, void> {
  const options = { maxSeconds: window / rate, ...(typeof segments === 'object' ? segments : {}) };
  if (options.maxSeconds > window / rate) {
    throw new AudioError(
      `segments of ${options.maxSeconds} s at most, of which the model takes ${window / rate} s; give less`,
    );
  }
  const segmenter = new Segmenter(options);
  const whole = new Float32Array(window);
  let length = 0;
  let pieces: AudioSegment[] = [];
  for await (const samples of streamAudio(source)) {
    signal?.throwIfAborted();
    pieces.push(...segmenter.push(samples));
    whole.set(samples.subarray(0, Math.max(0, window - length)), Math.min(length, window));
    length += samples.length;
    if (length <= window) continue;
    yield* pieces;
    pieces = [];
  }
  pieces.push(...segmenter.end());
  // Too short for the model, which then says so.
  const isTooShort = audioTokenCount(Math.ceil(length / melHop)) < 1;
  if (isTooShort || (length <= window && !segments)) {
    const silent = !isTooShort && pieces.every((piece) => piece.silent);
    const samples = silent ? new Float32Array(0) : whole.slice(0, length);
    pieces = [{ start: 0, end: length, silent, samples, overlap: 0 }];
  }
  yield* pieces;
}

/** Joins the translated pieces of a recording. */
class Seams {
  readonly #segments: TranslatedSegment[] = [];
  #last: Translation = nothing;
  /** Of the segments, those that will not change. */
  #certain = 0;
  #seconds = 0;

  /** Gives the segments that are certain now: all but the last, from which the next may take a word. */
  push({ piece, translation }: TranslatedPiece): TranslatedSegment[] {
    const { start, end, silent, overlap } = piece;
    let { text } = translation;
    const last = this.#segments.at(-1);
    if (last && overlap > 0) {
      const { before, after } = dropRepeated(last.text, text);
      last.text = before;
      text = after;
    }
    this.#last = translation;
    this.#seconds += translation.seconds;
    const { tokenIds } = translation;
    const certain = this.#segments.slice(this.#certain);
    this.#certain = this.#segments.length;
    this.#segments.push({ start: start / rate, end: end / rate, text, tokenIds, silent });
    return certain;
  }

  /** The rest. */
  end(): TranslatedSegment[] {
    return this.#segments.slice(this.#certain);
  }

  translation(duration: number): RecordingTranslation {
    const segments = this.#segments;
    return {
      // What else a translation has, belongs to one that was made in one.
      ...(segments.length === 1 ? this.#last : {}),
      text: joinTexts(segments.map(({ text }) => text)),
      tokenIds: segments.flatMap(({ tokenIds }) => tokenIds),
      seconds: this.#seconds,
      duration,
      silent: segments.every(({ silent }) => silent),
      segments,
    };
  }
}
