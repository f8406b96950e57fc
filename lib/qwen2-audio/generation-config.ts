/**
 * How tokens are chosen, by the names of transformers' `GenerationConfig`, and what a checkpoint's
 * generation_config.json says about it.
 */
import { PareError } from '../errors';
import type { KnownPrompt } from './prompt-state';

/** Options of generation that make no sense, alone or together. */
export class GenerationError extends PareError {}

/** Without any of them: the most likely token at each step. */
export interface GenerationConfig {
  /** Hypotheses that are followed at once; 1 by default. */
  numBeams?: number;
  /** Sums of log-probabilities are divided by length ** lengthPenalty; 1 by default. */
  lengthPenalty?: number;
  /**
   * `true` stops at `numBeams` finished hypotheses; `false`, the default, where no better one is to
   * be expected; `'never'` where none is possible.
   */
  earlyStopping?: boolean | 'never';
  /** Sequences of each row: of beam search the best, of sampling as many samples. 1 by default. */
  numReturnSequences?: number;
  /**
   * Draw tokens by their probability. Of what is not given here, the checkpoint's
   * generation_config.json decides, then transformers' defaults (temperature 1, topK 50, topP 1).
   */
  doSample?: boolean;
  /** Logits are divided by it: below 1 the likely becomes likelier. */
  temperature?: number;
  /** Only so many of the most likely tokens are drawn from; 0 for all. */
  topK?: number;
  /** Only the most likely tokens that together have this probability are drawn from. */
  topP?: number;
  /**
   * 0 to 2^32 - 1, 0 by default. A row's samples depend on the seed and the row alone, not on its
   * batch: the same request gives the same text, another seed another.
   */
  seed?: number;
  /** Above 1, tokens of prompt and text so far become less likely (Keskar et al. 2019). */
  repetitionPenalty?: number;
  /** No sequence of so many tokens comes twice, the prompt included; 0 for no such rule. */
  noRepeatNgramSize?: number;
}

/** {@link GenerationConfig}, and what a call has beside it. */
export interface GenerateOptions extends GenerationConfig, KnownPrompt {
  /** New tokens at most; the audio's tokens do not count. */
  maxNewTokens: number;
  signal?: AbortSignal;
}

/** The tokens generated after one prompt. */
export interface GeneratedSequence {
  /** New token ids, the end-of-sequence id included. */
  ids: number[];
  /** Of beam search: the sum of log-probabilities over length ** lengthPenalty. */
  score?: number;
}

/** What generation_config.json recommends; used where sampling is asked for, and nowhere else. */
export type SamplingDefaults = Pick<
  GenerationConfig,
  'temperature' | 'topK' | 'topP' | 'repetitionPenalty' | 'noRepeatNgramSize'
>;

const fileKeys: Record<keyof SamplingDefaults, string> = {
  temperature: 'temperature',
  topK: 'top_k',
  topP: 'top_p',
  repetitionPenalty: 'repetition_penalty',
  noRepeatNgramSize: 'no_repeat_ngram_size',
};

/** The recommendations of generation_config.json; what is no number is left out. */
export function samplingDefaults(file: Readonly<Record<string, unknown>>): SamplingDefaults {
  const defaults: SamplingDefaults = {};
  for (const [option, key] of Object.entries(fileKeys) as [keyof SamplingDefaults, string][]) {
    const value = file[key];
    if (typeof value === 'number') defaults[option] = value;
  }
  return defaults;
}

/**
 * All options with their values.
 * @throws GenerationError for a value out of range, and for an option that would have no effect
 */
export function resolveGeneration(
  options: GenerationConfig,
  recommended: SamplingDefaults = {},
): Required<GenerationConfig> {
  const { doSample = false, numBeams = 1 } = options;
  const defaults: SamplingDefaults = doSample ? { topK: 50, ...recommended } : {};
  const config = {
    numBeams,
    doSample,
    lengthPenalty: options.lengthPenalty ?? 1,
    earlyStopping: options.earlyStopping ?? false,
    numReturnSequences: options.numReturnSequences ?? 1,
    temperature: options.temperature ?? defaults.temperature ?? 1,
    topK: options.topK ?? defaults.topK ?? 0,
    topP: options.topP ?? defaults.topP ?? 1,
    seed: options.seed ?? 0,
    repetitionPenalty: options.repetitionPenalty ?? defaults.repetitionPenalty ?? 1,
    noRepeatNgramSize: options.noRepeatNgramSize ?? defaults.noRepeatNgramSize ?? 0,
  };
  checkRanges(config);
  checkTogether(options);
  return config;
}

function checkTogether(options: GenerationConfig): void {
  const { doSample = false, numBeams = 1, numReturnSequences = 1 } = options;
  const refuse = (message: string): never => {
    throw new GenerationError(message);
  };
  if (doSample && numBeams > 1) {
    refuse('numBeams and doSample exclude each other; leave one of them out');
  }
  for (const key of ['temperature', 'topK', 'topP', 'seed'] as const) {
    if (options[key] !== undefined && !doSample) {
      refuse(`${key} has no effect without sampling; add doSample: true, or leave it out`);
    }
  }
  for (const key of ['lengthPenalty', 'earlyStopping'] as const) {
    if (options[key] !== undefined && numBeams === 1) {
      refuse(`${key} has no effect without beams; add numBeams: 4, or leave it out`);
    }
  }
  if (!doSample && numReturnSequences > numBeams) {
    refuse(
      `numReturnSequences is ${numReturnSequences}, of ${numBeams} beams; ` +
        'give as many numBeams, or doSample: true',
    );
  }
}

function checkRanges(config: Required<GenerationConfig>): void {
  const check = (key: keyof GenerationConfig, range: string, good: boolean): void => {
    if (!good) throw new GenerationError(`${key} must be ${range}, not ${String(config[key])}`);
  };
  const atLeast = (key: keyof GenerationConfig, least: number): void =>
    check(key, `a whole number of at least ${least}`, isWhole(config[key], least));
  atLeast('numBeams', 1);
  atLeast('numReturnSequences', 1);
  atLeast('topK', 0);
  atLeast('noRepeatNgramSize', 0);
  const { temperature, topP, seed, repetitionPenalty, lengthPenalty, earlyStopping } = config;
  check('temperature', 'a number above 0', isPositive(temperature));
  check('topP', 'a number above 0 and at most 1', isPositive(topP) && topP <= 1);
  check('repetitionPenalty', 'a number above 0', isPositive(repetitionPenalty));
  check('lengthPenalty', 'a number', Number.isFinite(lengthPenalty));
  check('earlyStopping', 'true, false or "never"', [true, false, 'never'].includes(earlyStopping));
  check('seed', 'a whole number from 0 to 4294967295', isWhole(seed, 0) && seed < 2 ** 32);
}

function isWhole(value: unknown, least: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

function isPositive(value: number): boolean {
  return Number.isFinite(value) && value > 0;
}
