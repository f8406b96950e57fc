/** A translator in a thread of its own: the program's event loop goes on meanwhile. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { AudioError, FeatureConfigError } from '../audio';
import { FileError } from '../files';
import { HubError, HubNotFoundError } from '../hub';
import { LoraError } from '../lora';
import { QuantStateError } from '../nf4';
import { TokenizerError } from '../text';
import { numThreads, SafetensorsError, TorchError } from '../torch';
import { RemoteObject, type ErrorClass } from '../worker';
import { ConfigError } from './config';
import { CheckpointError } from './folder';
import { GenerationError } from './generation-config';
import { DeviceError } from './load';
import { ModelInputError } from './model';
import { AudioTooLongError, AudioTooShortError, ProcessorError } from './processor';
import type { RecordingOutcome, RecordingRequest } from './recordings';
import type { RecordingTranslation, TranslatedSegment } from './recordings';
import {
  TargetLanguageWarning,
  TranslatorError,
  type BatchRequest,
  type SpeechInput,
  type Translation,
  type TranslationOutcome,
  type TranslationRequest,
  type TranslatorOptions,
} from './translation';
import type { SpeechTranslator } from './translator';

/** Of the thread's errors, those that keep their class. */
export const errorClasses: readonly ErrorClass[] = [
  ...[AudioError, AudioTooLongError, AudioTooShortError, FeatureConfigError, FileError],
  ...[HubError, HubNotFoundError, CheckpointError, ConfigError, QuantStateError, SafetensorsError],
  ...[LoraError, TokenizerError, ProcessorError, ModelInputError, GenerationError, DeviceError],
  ...[TorchError, TranslatorError, TargetLanguageWarning],
];

/** A thread needs JavaScript; beside this file there may be only its source. */
const beside = join(__dirname, 'translator-thread.js');
const script = existsSync(beside)
  ? beside
  : join(__dirname, '../../dist/qwen2-audio/translator-thread.js');

type Translates = Pick<
  SpeechTranslator,
  | 'translate'
  | 'translateBatch'
  | 'translateEach'
  | 'translateRecordings'
  | 'translateSegments'
  | 'stream'
>;

/**
 * {@link SpeechTranslator} in a worker thread: the same methods with the same results and errors,
 * while timers, sockets and other translators go on. A large model computes the prompt of a clip
 * for seconds in one piece, for which an event loop would stand still. Aborting takes effect at
 * once for the caller; the thread ends what it computes before it takes up the next.
 *
 * The thread uses as many threads of libtorch as the program does when it is loaded. It keeps the
 * program alive only while something is translated.
 *
 * ```ts
 * const translator = await WorkerTranslator.load('checkpoints/student');
 * const { text } = await translator.translate('talk.wav', { to: 'German' });
 * await translator.dispose();
 * ```
 */
export class WorkerTranslator implements Translates {
  readonly #remote: RemoteObject;

  private constructor(remote: RemoteObject) {
    this.#remote = remote;
  }

  /**
   * Starts a thread and loads a checkpoint in it.
   * @throws as `SpeechTranslator.load`
   */
  static async load(
    pathOrHubName: string,
    { onWarning = (warning) => process.emitWarning(warning), ...options }: TranslatorOptions = {},
  ): Promise<WorkerTranslator> {
    const remote = new RemoteObject(new Worker(script), errorClasses, (why) => {
      const what = 'the thread of this translator has ended';
      return new TranslatorError(`${what} (${why}); load the checkpoint again`);
    });
    try {
      await remote.create(numThreads(), pathOrHubName, { ...options, onWarning });
    } catch (error) {
      await remote.end(gone());
      throw error;
    }
    return new WorkerTranslator(remote);
  }

  translate(audio: SpeechInput, request: RecordingRequest): Promise<RecordingTranslation> {
    return this.#remote.call('translate', audio, request);
  }

  translateBatch(audios: readonly SpeechInput[], request: BatchRequest): Promise<Translation[]> {
    return this.#remote.call('translateBatch', audios, request);
  }

  translateEach(
    audios: readonly SpeechInput[],
    request: BatchRequest,
  ): AsyncGenerator<TranslationOutcome, void> {
    return this.#remote.iterate('translateEach', audios, request);
  }

  translateRecordings(
    audios: readonly SpeechInput[],
    request: RecordingRequest,
  ): AsyncGenerator<RecordingOutcome, void> {
    return this.#remote.iterate('translateRecordings', audios, request);
  }

  translateSegments(
    audio: SpeechInput,
    request: RecordingRequest,
  ): AsyncGenerator<TranslatedSegment, void> {
    return this.#remote.iterate('translateSegments', audio, request);
  }

  stream(audio: SpeechInput, request: TranslationRequest): AsyncGenerator<string, Translation> {
    return this.#remote.iterate('stream', audio, request);
  }

  /** As `SpeechTranslator.loadAdapter`. */
  loadAdapter(dir: string, options: { name: string }): Promise<void> {
    return this.#remote.call('loadAdapter', dir, options);
  }

  /** As `SpeechTranslator.setAdapter`. */
  setAdapter(names: string | readonly string[]): Promise<void> {
    return this.#remote.call('setAdapter', names);
  }

  /** As `SpeechTranslator.disableAdapter`. */
  disableAdapter(): Promise<void> {
    return this.#remote.call('disableAdapter');
  }

  /** As `SpeechTranslator.deleteAdapter`. */
  deleteAdapter(name: string): Promise<void> {
    return this.#remote.call('deleteAdapter', name);
  }

  /**
   * Ends the thread with all its memory. What is being translated fails at once with a
   * TranslatorError; the promise waits for what the thread computes now.
   */
  dispose(): Promise<void> {
    return this.#remote.end(gone());
  }

  /** `dispose()`, at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

function gone(): TranslatorError {
  return new TranslatorError('this translator was disposed; load the checkpoint again');
}
