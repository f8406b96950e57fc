/** Scores of translations, each with its interval, as sacreBLEU would print them. */
import type { Utterance } from '../data';
import { bootstrapInterval, createMetricFor, pairedBootstrap, retention } from '../metrics';
import type { Qwen2Audio } from '../qwen2-audio';
import type { Features } from '../train/examples';
import { CompressionError } from './error';
import { type MetricKey, metricKeys } from './metric-keys';
import { translateSplit, type TranslateOptions } from './translate';

/** A metric's value on one test set, with its uncertainty and sacreBLEU's signature. */
export interface Score {
  /** 0 to 100, exact match too. */
  score: number;
  /** Of the 95 % bootstrap interval. */
  low: number;
  high: number;
  signature: string;
}

/** A model against its teacher on the same sentences. */
export interface ScoreComparison {
  /** Student / teacher; undefined where the teacher scores 0. */
  retention?: number;
  low?: number;
  high?: number;
  /** Of the paired bootstrap, two-sided. */
  pValue: number;
}

/** Of the resampling behind intervals and p-values; as `bootstrapInterval` unless given. */
export interface BootstrapOptions {
  samples?: number;
  seed?: number;
}

/**
 * The reference translations of utterances, in their order.
 * @throws CompressionError naming the first utterance without one
 */
export function references(utterances: readonly Utterance[], language: string): string[] {
  return utterances.map((utterance) => {
    const reference = utterance.translations[language];
    if (reference === undefined) {
      throw new CompressionError(
        `utterance ${utterance.id} has no reference in ${language}; it has ` +
          Object.keys(utterance.translations).join(', '),
      );
    }
    return reference;
  });
}

/**
 * Every metric of an evaluation with its 95 % bootstrap interval.
 * @throws MetricError when the texts cannot be scored together
 */
export function scoreTranslations(
  hypotheses: readonly string[],
  refs: readonly string[],
  language: string,
  options: BootstrapOptions = {},
): Record<MetricKey, Score> {
  const entries = metricKeys.map((key) => {
    const metric = createMetricFor(key, language);
    const { score, low, high, signature } = bootstrapInterval(metric, hypotheses, refs, options);
    return [key, { score, low, high, signature }] as const;
  });
  return Object.fromEntries(entries) as Record<MetricKey, Score>;
}

/**
 * What a student keeps of its teacher's scores by every metric, on the same sentences.
 * @throws MetricError when the texts cannot be scored together
 */
export function compareToTeacher(
  student: readonly string[],
  teacher: readonly string[],
  refs: readonly string[],
  language: string,
  options: BootstrapOptions = {},
): Record<MetricKey, ScoreComparison> {
  const entries = metricKeys.map((key) => {
    const metric = createMetricFor(key, language);
    const kept = retention(metric, student, teacher, refs, options);
    const { pValue } = pairedBootstrap(metric, teacher, student, refs, options);
    const comparison: ScoreComparison = { pValue };
    // The metric room speaks of percent, reports of fractions.
    if (kept.retention !== undefined) comparison.retention = kept.retention / 100;
    if (kept.low !== undefined) comparison.low = kept.low / 100;
    if (kept.high !== undefined) comparison.high = kept.high / 100;
    return [key, comparison] as const;
  });
  return Object.fromEntries(entries) as Record<MetricKey, ScoreComparison>;
}

/** One model on one split in one language. */
export interface Evaluation {
  language: string;
  segments: number;
  /** Of the utterances, in the order of `texts` and `references`. */
  ids: string[];
  texts: string[];
  references: string[];
  scores: Record<MetricKey, Score>;
  tokensPerSecond: number;
}

/** Translates a split into each language and scores it by every metric. */
export async function evaluateModel(
  model: Qwen2Audio,
  features: Features,
  utterances: readonly Utterance[],
  languages: readonly string[],
  options: TranslateOptions & BootstrapOptions,
): Promise<Evaluation[]> {
  const results: Evaluation[] = [];
  for (const language of languages) {
    const refs = references(utterances, language);
    const translated = await translateSplit(model, features, utterances, language, options);
    results.push({
      language,
      segments: utterances.length,
      ids: utterances.map(({ id }) => id),
      texts: translated.texts,
      references: refs,
      scores: scoreTranslations(translated.texts, refs, language, options),
      tokensPerSecond: translated.generatedTokens / translated.seconds,
    });
  }
  return results;
}

/** The answer most often right when it is always given: the floor that formulaic texts have. */
export function constantAnswer(train: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const text of train) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best))[0];
}
