/** Training and evaluation examples of a corpus: features in memory once, prompts as token ids. */
import { setImmediate } from 'node:timers/promises';
import { loadAudio, type LogMel } from '../audio';
import type { Corpus, Utterance } from '../data';
import { named } from '../errors';
import { translationInstruction, type Processor } from '../qwen2-audio';

/** The instruction that has the English speech written down instead of translated. */
export const transcribeInstruction = 'Transcribe the English speech:';

/** What is asked about an utterance: a translation into a language, or its transcript. */
export type Task = string;
export const transcribe: Task = 'transcribe';

export function instructionOf(task: Task): string {
  return task === transcribe ? transcribeInstruction : translationInstruction(task);
}

export interface FeaturesOptions {
  /** Hears after each utterance that had to be read. */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/** Log-mel features by utterance, computed once. */
export class Features {
  readonly #mels = new Map<string, LogMel>();

  constructor(
    readonly corpus: Corpus,
    readonly processor: Processor,
    readonly options: FeaturesOptions = {},
  ) {}

  /**
   * Reads the audio of those `utterances` that were not read yet.
   * @throws FileError, AudioError naming the file
   */
  async load(utterances: readonly Utterance[]): Promise<void> {
    const unique = new Map(utterances.map((utterance) => [utterance.id, utterance]));
    const missing = [...unique.values()].filter(({ id }) => !this.#mels.has(id));
    for (const [i, utterance] of missing.entries()) {
      this.options.signal?.throwIfAborted();
      const path = this.corpus.audioPath(utterance);
      try {
        this.#mels.set(utterance.id, this.processor.logMel(await loadAudio(path)));
      } catch (error) {
        throw named(path, error);
      }
      this.options.onProgress?.(i + 1, missing.length);
      // Reading a wav never waits: without this the event loop would not turn.
      await setImmediate();
    }
  }

  get(utterance: Utterance): LogMel {
    return this.#mels.get(utterance.id)!;
  }
}
