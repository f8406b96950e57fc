/** Training and evaluation examples of a corpus: features as far as they fit, prompts as token ids. */
import { setImmediate } from 'node:timers/promises';
import { loadAudio, type LogMel } from '../audio';
import type { Corpus, Utterance } from '../data';
import { named } from '../errors';
import { translationInstruction, type Processor } from '../qwen2-audio';

/** The instruction that has the English speech written down instead of translated. */
export const transcribeInstruction = 'Transcribe the English speech:';

/** What is asked about an utterance: a translation into a language, or its transcript. */
export type Task = string;
/** The task of writing the English speech down. */
export const transcribe: Task = 'transcribe';

/**
 * The prompt of a task.
 * @throws ProcessorError for a language that is not known
 */
export function instructionOf(task: Task): string {
  return task === transcribe ? transcribeInstruction : translationInstruction(task);
}

/** What is told of reading speech, and what stops it. */
export interface FeaturesOptions {
  /** Hears after each utterance that had to be read. */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
  /** Bytes that are kept, 2 GiB by default. */
  keptBytes?: number;
}

/** Bytes of features that are kept in memory: about 11 hours of audio with 128 mel bins. */
export const keptFeatures: number = 2 * 2 ** 30;

const framesPerSecond = 100;

/**
 * Log-mel features by utterance, in bounded memory. A set of utterances whose features fit is read
 * as a whole, once; of a larger one what is asked for is read when it is.
 */
export class Features {
  /** The longest unused first. */
  readonly #mels = new Map<string, LogMel>();
  #bytes = 0;
  readonly #keptBytes: number;

  constructor(
    readonly corpus: Corpus,
    readonly processor: Processor,
    readonly options: FeaturesOptions = {},
  ) {
    this.#keptBytes = options.keptBytes ?? keptFeatures;
  }

  /**
   * Frames of each utterance, for an order by length. Which way they are found depends on the
   * utterances alone: if their features fit, all are read and counted; else the corpus' seconds tell.
   * @throws FileError, AudioError naming the file
   */
  async lengths(utterances: readonly Utterance[]): Promise<number[]> {
    const { nMels, windowFrames } = this.processor;
    const frames = utterances.map(({ seconds }) =>
      Math.min(windowFrames, Math.ceil(seconds * framesPerSecond)),
    );
    const bytes = frames.reduce((sum, count) => sum + count * nMels * 4, 0);
    if (bytes > this.#keptBytes) return frames;
    await this.load(utterances);
    return utterances.map((utterance) => this.get(utterance).frames);
  }

  /**
   * Reads the audio of those `utterances` that are not in memory. All of them stay there until the
   * next call; of others, the longest unused go where memory is short.
   * @param quiet tells no progress
   * @throws FileError, AudioError naming the file
   */
  async load(utterances: readonly Utterance[], { quiet = false } = {}): Promise<void> {
    const unique = new Map(utterances.map((utterance) => [keyOf(utterance), utterance]));
    const missing: Utterance[] = [];
    for (const [key, utterance] of unique) {
      const mel = this.#mels.get(key);
      if (mel === undefined) missing.push(utterance);
      else {
        this.#mels.delete(key);
        this.#mels.set(key, mel);
      }
    }
    for (const [i, utterance] of missing.entries()) {
      this.options.signal?.throwIfAborted();
      const mel = await this.#read(utterance);
      this.#mels.set(keyOf(utterance), mel);
      this.#bytes += mel.data.byteLength;
      this.#shrink(unique);
      if (!quiet) this.options.onProgress?.(i + 1, missing.length);
      // Reading a wav never waits: without this the event loop would not turn.
      await setImmediate();
    }
  }

  /** Of an utterance that the last {@link load} was given. */
  get(utterance: Utterance): LogMel {
    return this.#mels.get(keyOf(utterance))!;
  }

  async #read(utterance: Utterance): Promise<LogMel> {
    try {
      return this.processor.logMel(await loadAudio(await this.corpus.audio(utterance)));
    } catch (error) {
      throw named(this.corpus.audioName(utterance), error);
    }
  }

  #shrink(needed: ReadonlyMap<string, unknown>): void {
    for (const [key, { data }] of this.#mels) {
      // Those that are needed were put last.
      if (this.#bytes <= this.#keptBytes || needed.has(key)) return;
      this.#mels.delete(key);
      this.#bytes -= data.byteLength;
    }
  }
}

/** Two splits may call their utterances the same, and two corpora their sounds. */
function keyOf({ id, audio }: Utterance): string {
  return `${id}\n${audio}`;
}
