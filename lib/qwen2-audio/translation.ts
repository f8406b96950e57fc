/** What is asked of a translator, and what it gives. */
import type { AudioSource } from '../audio';
import { PareError } from '../errors';
import type { GenerationConfig } from './generation-config';
import type { LoadOptions } from './load';
import type { ResolveOptions } from './resolve';

/** A path, the bytes of a file, samples (a bare array is mono, 16 kHz), or a stream of them. */
export type SpeechInput = AudioSource;

/** A translator was used after it had been disposed. */
export class TranslatorError extends PareError {}

/** The target language is none that the checkpoint was trained to translate into. */
export class TargetLanguageWarning extends Error {
  override readonly name = 'TargetLanguageWarning';

  /**
   * @param language that was asked for, in English
   * @param known those that the checkpoint says it was trained on, in English
   */
  constructor(
    readonly language: string,
    readonly known: readonly string[],
  ) {
    super(
      `this model was trained to translate into ${known.join(' and ')}, not into ${language}; ` +
        'do not rely on what it says',
    );
  }
}

/** How a translator's checkpoint is found and loaded. */
export interface TranslatorOptions extends LoadOptions, ResolveOptions {
  /** Folder of an adapter in PEFT's format; by default the checkpoint's own, in `adapter/`. */
  adapter?: string;
  /**
   * Packs every linear layer but lm_head into 4 bits, from the dtype that it is stored in, as it is
   * read. What the checkpoint itself has packed stays, and nothing is packed beside it.
   */
  quantization?: 'nf4';
  /** Hears once of each language; `process.emitWarning` by default. */
  onWarning?: (warning: TargetLanguageWarning) => void;
}

/**
 * What to translate into, and how; without options of {@link GenerationConfig} the most likely
 * token at each step.
 */
export interface TranslationRequest extends GenerationConfig {
  /** The target language, by English name or two-letter code: `German`, `de`. */
  to?: string;
  /** In place of the translation prompt; `to` is then not needed. */
  instruction?: string;
  /** 128 by default. */
  maxNewTokens?: number;
  signal?: AbortSignal;
}

/** What many utterances are translated into, and how many at a time. */
export interface BatchRequest extends TranslationRequest {
  /** Utterances decoded together, 8 by default. The result does not depend on it. */
  batchSize?: number;
  /** Hears at the beginning and after each batch. */
  onProgress?: (done: number, total: number) => void;
}

/** One utterance in the target language. */
export interface Translation {
  /** Without special tokens, trimmed. */
  text: string;
  /** As generated; the end-of-sequence id is the last where it was reached. */
  tokenIds: number[];
  /** Wall time; of a batch's decoding, the utterance's equal share. */
  seconds: number;
  /** Of beam search: the sum of log-probabilities over length ** lengthPenalty. */
  score?: number;
  /** With `numReturnSequences` above 1, that many; the first is this translation. */
  alternatives?: Alternative[];
}

/** Another sequence for the same utterance, as beam search or sampling gives several. */
export type Alternative = Pick<Translation, 'text' | 'tokenIds' | 'score'>;

/** What came of one input; `error` where its audio cannot be read or does not fit the model. */
export type TranslationOutcome =
  | { index: number; translation: Translation; error?: undefined }
  | { index: number; translation?: undefined; error: unknown };
