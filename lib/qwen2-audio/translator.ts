/** From speech to text with a checkpoint: what an application uses. */
import { loadAudio } from '../audio';
import { named } from '../errors';
import { loadAdapter, type LoraAdapter } from '../lora';
import { type DType } from '../torch';
import { collate, type Example } from './batch';
import { adapterOf } from './folder';
import { generate } from './generate';
import { loadModel } from './load';
import type { Qwen2Audio } from './model';
import { Processor, ProcessorError, translationInstruction } from './processor';

/** A path, or samples: mono, 16 kHz, [-1, 1]. */
export type SpeechInput = string | Float32Array;

export interface TranslatorOptions {
  /** Converts floating-point weights; as stored by default. */
  dtype?: DType;
  /** Folder of an adapter in PEFT's format; by default the checkpoint's own, in `adapter/`. */
  adapter?: string;
}

export interface TranslationRequest {
  /** The target language, by English name or two-letter code: `German`, `de`. */
  to?: string;
  /** In place of the translation prompt; `to` is then not needed. */
  instruction?: string;
  /** 128 by default. */
  maxNewTokens?: number;
  signal?: AbortSignal;
}

export interface BatchRequest extends TranslationRequest {
  /** Utterances decoded together, 8 by default. The result does not depend on it. */
  batchSize?: number;
  /** Hears at the beginning and after each batch. */
  onProgress?: (done: number, total: number) => void;
}

export interface Translation {
  /** Without special tokens, trimmed. */
  text: string;
  /** As generated; the end-of-sequence id is the last where it was reached. */
  tokenIds: number[];
  /** Wall time; of a batch's decoding, the utterance's equal share. */
  seconds: number;
}

/** What came of one input; `error` where its audio cannot be read or does not fit the model. */
export type TranslationOutcome =
  | { index: number; translation: Translation; error?: undefined }
  | { index: number; translation?: undefined; error: unknown };

interface Prepared {
  index: number;
  seconds: number;
  example?: Example;
  error?: unknown;
}

/**
 * ```ts
 * const translator = SpeechTranslator.load('checkpoints/student');
 * const { text } = await translator.translate('talk.wav', { to: 'German' });
 * translator.dispose();
 * ```
 */
export class SpeechTranslator {
  readonly adapter: LoraAdapter | undefined;

  /** Takes the model, and the adapter that is attached to it, over. */
  constructor(
    readonly model: Qwen2Audio,
    readonly processor: Processor,
    adapter?: LoraAdapter,
  ) {
    this.adapter = adapter;
  }

  /**
   * Loads a checkpoint folder with its processor, and its adapter if it has one.
   * @throws CheckpointError, ConfigError, SafetensorsError, QuantStateError, LoraError,
   * TokenizerError, FileError naming the file
   */
  static load(dir: string, options: TranslatorOptions = {}): SpeechTranslator {
    const model = loadModel(dir, { dtype: options.dtype });
    try {
      const processor = Processor.fromPretrained(dir, model.config);
      const adapterDir = adapterOf(dir, options.adapter);
      const adapter = adapterDir === undefined ? undefined : loadAdapter(adapterDir, model);
      model.eval();
      return new SpeechTranslator(model, processor, adapter);
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  /**
   * Translates one utterance, greedily. Yields to the event loop between tokens.
   * @throws FileError, AudioError (AudioTooLongError over the encoder's window)
   */
  async translate(audio: SpeechInput, request: TranslationRequest): Promise<Translation> {
    const [translation] = await this.translateBatch([audio], request);
    return translation!;
  }

  /**
   * Translates many, in their order.
   * @throws as {@link translate}, for the first input that fails
   */
  async translateBatch(
    audios: readonly SpeechInput[],
    request: BatchRequest,
  ): Promise<Translation[]> {
    const results: Translation[] = [];
    for await (const { translation, error } of this.translateEach(audios, request)) {
      if (translation === undefined) throw error;
      results.push(translation);
    }
    return results;
  }

  /**
   * Translates many and goes on where one cannot be read: gives an outcome for each, in their
   * order, as soon as its batch is done.
   */
  async *translateEach(
    audios: readonly SpeechInput[],
    request: BatchRequest,
  ): AsyncGenerator<TranslationOutcome, void> {
    const { batchSize = 8, onProgress, signal } = request;
    onProgress?.(0, audios.length);
    let waiting: Prepared[] = [];
    for (const [index, audio] of audios.entries()) {
      signal?.throwIfAborted();
      waiting.push(await this.#prepare(index, audio, request));
      const ready = waiting.filter(({ example }) => example !== undefined).length;
      if (ready < batchSize && index < audios.length - 1) continue;
      yield* await this.#translate(waiting, request);
      waiting = [];
      onProgress?.(index + 1, audios.length);
    }
  }

  /** Frees the model and its adapter. */
  dispose(): void {
    this.model.dispose();
    this.adapter?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #prepare(index: number, audio: SpeechInput, request: BatchRequest): Promise<Prepared> {
    const started = performance.now();
    const instruction = instructionOf(request);
    try {
      const samples = typeof audio === 'string' ? await loadAudio(audio) : audio;
      const example = this.processor.process({ audio: samples, instruction });
      return { index, example, seconds: (performance.now() - started) / 1000 };
    } catch (error) {
      return { index, error: typeof audio === 'string' ? named(audio, error) : error, seconds: 0 };
    }
  }

  async #translate(
    prepared: readonly Prepared[],
    request: BatchRequest,
  ): Promise<TranslationOutcome[]> {
    const started = performance.now();
    const examples = prepared.flatMap(({ example }) => example ?? []);
    const rows = examples.length > 0 ? await this.#generate(examples, request) : [];
    const share = (performance.now() - started) / 1000 / Math.max(1, rows.length);
    let row = 0;
    return prepared.map(({ index, example, error, seconds }) => {
      if (example === undefined) return { index, error };
      const tokenIds = rows[row++]!;
      const text = this.processor.tokenizer.decode(tokenIds, { skipSpecialTokens: true }).trim();
      return { index, translation: { text, tokenIds, seconds: seconds + share } };
    });
  }

  async #generate(
    examples: readonly Example[],
    { maxNewTokens = 128, signal }: BatchRequest,
  ): Promise<number[][]> {
    const batch = collate(this.model, examples, 'left');
    try {
      return await generate(this.model, batch, { maxNewTokens, signal });
    } finally {
      batch.inputIds.dispose();
      batch.inputFeatures.dispose();
    }
  }
}

function instructionOf({ to, instruction }: TranslationRequest): string {
  if (instruction !== undefined) return instruction;
  if (to !== undefined) return translationInstruction(to);
  throw new ProcessorError('the target language is missing; give one, as { to: "German" }');
}
