/** From speech to text with a checkpoint: what an application uses. */
import { loadAudio } from '../audio';
import { named } from '../errors';
import { deleteAdapter, disableAdapter, loadAdapter, setAdapter, type LoraAdapter } from '../lora';
import { findLanguage, TextStream } from '../text';
import { collate, type Batch, type Example } from './batch';
import { adapterOf } from './folder';
import { generateSequences, generateSteps } from './generate';
import type { GeneratedSequence } from './generation-config';
import { loadModel } from './load';
import { loadNf4 } from './load-nf4';
import type { Qwen2Audio } from './model';
import { Processor, ProcessorError, translationInstruction } from './processor';
import {
  translateRecordings,
  translateSegments,
  type RecordingOutcome,
  type RecordingRequest,
  type RecordingTranslation,
  type TranslatedSegment,
} from './recordings';
import { resolveCheckpoint } from './resolve';
import {
  TargetLanguageWarning,
  TranslatorError,
  type Alternative,
  type BatchRequest,
  type SpeechInput,
  type Translation,
  type TranslationOutcome,
  type TranslationRequest,
  type TranslatorOptions,
} from './translation';

export type * from './translation';
export { TargetLanguageWarning, TranslatorError } from './translation';

const defaultMaxNewTokens = 128;

interface Prepared {
  index: number;
  seconds: number;
  example?: Example;
  error?: unknown;
}

/**
 * ```ts
 * const translator = await SpeechTranslator.load('checkpoints/student');
 * const { text } = await translator.translate('talk.wav', { to: 'German' });
 * translator.dispose();
 * ```
 */
export class SpeechTranslator {
  readonly adapter: LoraAdapter | undefined;
  readonly #onWarning: (warning: TargetLanguageWarning) => void;
  readonly #warned = new Set<string>();
  #disposed = false;

  /** Takes the model, and the adapter that is attached to it, over. */
  constructor(
    readonly model: Qwen2Audio,
    readonly processor: Processor,
    adapter?: LoraAdapter,
    {
      onWarning = (warning) => process.emitWarning(warning),
    }: Pick<TranslatorOptions, 'onWarning'> = {},
  ) {
    this.adapter = adapter;
    this.#onWarning = onWarning;
  }

  /**
   * Loads a checkpoint with its processor, and its adapter if it has one.
   * @param pathOrHubName a folder, or `owner/name` on the Hugging Face hub, of which the files that
   * are needed are fetched into its cache (HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN count)
   * @throws CheckpointError, ConfigError, SafetensorsError, QuantStateError, LoraError,
   * TokenizerError, FileError naming the file; DeviceError, HubError; the signal's reason
   */
  static async load(
    pathOrHubName: string,
    options: TranslatorOptions = {},
  ): Promise<SpeechTranslator> {
    const { dtype, quantization, device, signal } = options;
    const dir = await resolveCheckpoint(pathOrHubName, options);
    signal?.throwIfAborted();
    const model =
      quantization === 'nf4'
        ? await loadNf4(dir, { dtype, device, signal })
        : loadModel(dir, { dtype, device });
    try {
      const processor = Processor.fromPretrained(dir, model.config);
      const adapterDir = adapterOf(dir, options.adapter);
      const adapter = adapterDir === undefined ? undefined : loadAdapter(adapterDir, model);
      model.eval();
      return new SpeechTranslator(model, processor, adapter, options);
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  /**
   * Translates a recording. What is longer than the encoder's window is cut at pauses; see
   * {@link RecordingTranslation}. Yields to the event loop between tokens.
   * @throws FileError, AudioError, GenerationError, TranslatorError, and the signal's reason
   */
  async translate(audio: SpeechInput, request: RecordingRequest): Promise<RecordingTranslation> {
    for await (const { translation, error } of this.translateRecordings([audio], request)) {
      if (translation === undefined) throw error;
      return translation;
    }
    throw new Error('unreachable: every recording has an outcome');
  }

  /** Translates many recordings of any length; see `translateRecordings`. */
  async *translateRecordings(
    audios: readonly SpeechInput[],
    request: RecordingRequest,
  ): AsyncGenerator<RecordingOutcome, void> {
    this.#checkLive();
    yield* translateRecordings(this, audios, request);
  }

  /** Translates a recording or a stream segment by segment; see `translateSegments`. */
  async *translateSegments(
    audio: SpeechInput,
    request: RecordingRequest,
  ): AsyncGenerator<TranslatedSegment, void> {
    this.#checkLive();
    yield* translateSegments(this, audio, request);
  }

  /**
   * Translates many utterances that the encoder's window holds, in their order.
   * @throws as {@link translate}, AudioTooLongError, for the first input that fails
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
   * Translates many utterances and goes on where one cannot be read: gives an outcome for each, in their
   * order, as soon as its batch is done.
   */
  async *translateEach(
    audios: readonly SpeechInput[],
    request: BatchRequest,
  ): AsyncGenerator<TranslationOutcome, void> {
    this.#checkLive();
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

  /**
   * Translates one utterance and gives the text as it is made, in pieces that never split a
   * character; together they are the text of {@link translate}, which is returned at the end. What
   * it holds is freed when the loop over it is left.
   * @throws as {@link translate}; GenerationError for beams, which know their text only at the end
   */
  async *stream(
    audio: SpeechInput,
    request: TranslationRequest,
  ): AsyncGenerator<string, Translation> {
    const { example, error, seconds } = await this.#prepare(0, audio, request);
    if (example === undefined) throw error;
    this.#checkLive();
    const started = performance.now();
    const text = new TextStream(this.processor.tokenizer);
    const ids: number[] = [];
    const batch = collate(this.model, [example], 'left');
    try {
      const { maxNewTokens = defaultMaxNewTokens, ...options } = request;
      for await (const [id] of generateSteps(this.model, batch, { maxNewTokens, ...options })) {
        if (id === undefined) continue;
        ids.push(id);
        const piece = text.push(id);
        if (piece !== '') yield piece;
        this.#checkLive();
      }
    } catch (error) {
      this.#checkLive();
      throw error;
    } finally {
      freeBatch(batch);
    }
    const rest = text.end();
    if (rest !== '') yield rest;
    const elapsed = (performance.now() - started) / 1000;
    return { ...this.#alternative({ ids }), seconds: seconds + elapsed };
  }

  /**
   * Loads an adapter beside the others of the model; {@link setAdapter} chooses it.
   * @throws LoraError for a name that is taken and for an adapter that does not fit, FileError
   */
  loadAdapter(dir: string, options: { name: string }): void {
    this.#checkLive();
    loadAdapter(dir, this.model, options);
  }

  /**
   * Translates with this adapter from now on, or with these together. The one that `load` found is
   * called `default`. Let translations that are under way end before.
   * @throws LoraError for a name that is not there
   */
  setAdapter(names: string | readonly string[]): void {
    this.#checkLive();
    setAdapter(this.model, names);
  }

  /** Translates with the base alone until {@link setAdapter}. */
  disableAdapter(): void {
    this.#checkLive();
    disableAdapter(this.model);
  }

  /** Frees an adapter that is not needed any more. */
  deleteAdapter(name: string): void {
    this.#checkLive();
    deleteAdapter(this.model, name);
  }

  /** Frees the model and its adapters. What is being translated ends with a TranslatorError. */
  dispose(): void {
    this.#disposed = true;
    this.model.dispose();
    this.adapter?.dispose();
  }

  /** `dispose()`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkLive(): void {
    if (!this.#disposed) return;
    throw new TranslatorError('this translator was disposed; load the checkpoint again');
  }

  async #prepare(
    index: number,
    audio: SpeechInput,
    request: TranslationRequest,
  ): Promise<Prepared> {
    this.#checkLive();
    request.signal?.throwIfAborted();
    const started = performance.now();
    const instruction = this.#instruction(request);
    try {
      const samples = await loadAudio(audio);
      request.signal?.throwIfAborted();
      const example = this.processor.process({ audio: samples, instruction });
      return { index, example, seconds: (performance.now() - started) / 1000 };
    } catch (error) {
      request.signal?.throwIfAborted();
      return { index, error: typeof audio === 'string' ? named(audio, error) : error, seconds: 0 };
    }
  }

  #instruction({ to, instruction }: TranslationRequest): string {
    if (instruction !== undefined) return instruction;
    if (to === undefined) {
      throw new ProcessorError('the target language is missing; give one, as { to: "German" }');
    }
    const asked = translationInstruction(to);
    this.#warnOf(to);
    return asked;
  }

  #warnOf(to: string): void {
    const { targetLanguages: known } = this.model.config;
    const { code, name } = findLanguage(to)!;
    if (known === undefined || known.includes(code) || this.#warned.has(code)) return;
    this.#warned.add(code);
    const names = known.map((language) => findLanguage(language)!.name);
    this.#onWarning(new TargetLanguageWarning(name, names));
  }

  async #translate(
    prepared: readonly Prepared[],
    request: TranslationRequest,
  ): Promise<TranslationOutcome[]> {
    this.#checkLive();
    const started = performance.now();
    const examples = prepared.flatMap(({ example }) => example ?? []);
    const rows = examples.length > 0 ? await this.#generate(examples, request) : [];
    const share = (performance.now() - started) / 1000 / Math.max(1, rows.length);
    let row = 0;
    return prepared.map(({ index, example, error, seconds }) => {
      if (example === undefined) return { index, error };
      const alternatives = rows[row++]!.map((sequence) => this.#alternative(sequence));
      const translation: Translation = { ...alternatives[0]!, seconds: seconds + share };
      if (alternatives.length > 1) translation.alternatives = alternatives;
      return { index, translation };
    });
  }

  #alternative({ ids, score }: GeneratedSequence): Alternative {
    const { tokenizer } = this.processor;
    const text = tokenizer.decode(ids, { skipSpecialTokens: true }).trim();
    return { text, tokenIds: ids, ...(score !== undefined && { score }) };
  }

  async #generate(
    examples: readonly Example[],
    { maxNewTokens = defaultMaxNewTokens, ...options }: TranslationRequest,
  ): Promise<GeneratedSequence[][]> {
    const batch = collate(this.model, examples, 'left');
    try {
      return await generateSequences(this.model, batch, { maxNewTokens, ...options });
    } catch (error) {
      // What a disposed model says is of tensors.
      this.#checkLive();
      throw error;
    } finally {
      freeBatch(batch);
    }
  }
}

function freeBatch({ inputIds, inputFeatures }: Batch): void {
  inputIds.dispose();
  inputFeatures.dispose();
}
