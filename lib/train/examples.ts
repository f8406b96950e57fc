/** Training and evaluation examples of a corpus: features in memory once, prompts as token ids. */
import { loadAudio, type LogMel } from '../audio';
import type { Corpus, Utterance } from '../data';
import { translationInstruction, type Processor } from '../qwen2-audio';

/** Target languages of the method, as the prompt names them. */
export const languageNames: Readonly<Record<string, string>> = { de: 'German', zh: 'Chinese' };

/** The instruction that has the English speech written down instead of translated. */
export const transcribeInstruction = 'Transcribe the English speech:';

/** What is asked about an utterance: a translation into a language, or its transcript. */
export type Task = string;
export const transcribe: Task = 'transcribe';

export function instructionOf(task: Task): string {
  return task === transcribe
    ? transcribeInstruction
    : translationInstruction(languageNames[task] ?? task);
}

/** Log-mel features by utterance, computed once. */
export class Features {
  readonly #mels = new Map<string, LogMel>();

  constructor(
    readonly corpus: Corpus,
    readonly processor: Processor,
  ) {}

  /** Reads the audio of all `utterances`; `onProgress` hears after each. */
  async load(
    utterances: readonly Utterance[],
    onProgress?: (done: number, total: number) => void,
  ): Promise<void> {
    for (const [i, utterance] of utterances.entries()) {
      if (!this.#mels.has(utterance.id)) {
        const samples = await loadAudio(this.corpus.audioPath(utterance));
        this.#mels.set(utterance.id, this.processor.logMel(samples));
      }
      onProgress?.(i + 1, utterances.length);
    }
  }

  get(utterance: Utterance): LogMel {
    return this.#mels.get(utterance.id)!;
  }
}
