import { corpusStatistics, type Metric, type References, resultOf, signatureOf } from './metric';
import {
  bootstrapPValue,
  bootstrapScores,
  checkConfidence,
  defaultSeed,
  interval,
  mean,
  randomizationPValues,
} from './resample';

/** How often and how to resample. */
export interface BootstrapOptions {
  /** The number of resamples. Default 1000, as sacreBLEU's. */
  readonly samples?: number;
  /** Default 12345, as sacreBLEU's. */
  readonly seed?: number;
}

/** How often and how to change sides. */
export interface RandomizationOptions {
  /** The number of trials. Default 10,000, as sacreBLEU's. */
  readonly trials?: number;
  /** Default 12345, as sacreBLEU's. */
  readonly seed?: number;
}

/** How to resample, and how wide the interval is. */
export interface IntervalOptions extends BootstrapOptions {
  /** The share of resamples inside the interval, above 0 and below 1. Default 0.95. */
  readonly confidence?: number;
}

/** A score with its interval. */
export interface IntervalResult {
  /** The score of the corpus itself. */
  readonly score: number;
  /** The mean over the resamples. */
  readonly mean: number;
  readonly low: number;
  readonly high: number;
  /** The metric's signature with the number of resamples and the seed. */
  readonly signature: string;
}

/** Two systems compared. */
export interface PairedResult {
  readonly scoreA: number;
  readonly scoreB: number;
  /** scoreB - scoreA. */
  readonly delta: number;
  /** The chance of so large a difference, either way, between systems that are equally good. */
  readonly pValue: number;
  readonly signature: string;
}

/** How much of the teacher's score the student keeps. */
export interface RetentionResult {
  readonly studentScore: number;
  readonly teacherScore: number;
  /** 100 * student / teacher; undefined where the teacher scores 0. */
  readonly retention: number | undefined;
  /** Undefined where the teacher scores 0, in the corpus or in every resample. */
  readonly low: number | undefined;
  readonly high: number | undefined;
  /** Resamples in which the teacher scores 0; they have no ratio and are left out. */
  readonly undefinedSamples: number;
  readonly signature: string;
}

/**
 * The score of a corpus with its confidence interval by bootstrap resampling (Koehn 2004, as
 * `sacrebleu.metrics.Metric.corpus_score` with `n_bootstrap`; the same resamples for the same seed).
 * @throws MetricError as `checkSegments`, or for options out of range.
 */
export function bootstrapInterval(
  metric: Metric,
  hypotheses: readonly string[],
  references: readonly References[],
  { samples = 1000, confidence = 0.95, seed = defaultSeed }: IntervalOptions = {},
): IntervalResult {
  checkConfidence(confidence);
  const statistics = corpusStatistics(metric, hypotheses, references);
  const scores = bootstrapScores([statistics], samples, seed)[0]!;
  return {
    score: resultOf(statistics).score,
    mean: mean(scores),
    ...interval(scores, confidence),
    signature: signatureOf(statistics, { bs: samples, seed }),
  };
}

/**
 * Compares system B with the baseline A by paired bootstrap resampling (Koehn 2004, two-sided, as
 * sacreBLEU's `_paired_bs_test`; the same resamples for the same seed). One exception: sacreBLEU
 * gives its least p-value when the systems differ in no resample; here it is 1.
 * @throws MetricError as `checkSegments`, or for options out of range.
 */
export function pairedBootstrap(
  metric: Metric,
  a: readonly string[],
  b: readonly string[],
  references: readonly References[],
  { samples = 1000, seed = defaultSeed }: BootstrapOptions = {},
): PairedResult {
  const statistics = [a, b].map((system) => corpusStatistics(metric, system, references));
  const [scoresA, scoresB] = bootstrapScores(statistics, samples, seed);
  const [scoreA, scoreB] = statistics.map((each) => resultOf(each).score);
  const delta = scoreB! - scoreA!;
  return {
    scoreA: scoreA!,
    scoreB: scoreB!,
    delta,
    pValue: bootstrapPValue(scoresA!, scoresB!, delta),
    signature: signatureOf(statistics[0]!, { bs: samples, seed }),
  };
}

/**
 * Compares system B with the baseline A by paired approximate randomisation (two-sided, as
 * sacreBLEU's `_paired_ar_test`; the same trials for the same seed). As with the bootstrap, the
 * p-value of systems that do not differ is 1.
 * @throws MetricError as `checkSegments`, or for options out of range.
 */
export function pairedApproximateRandomization(
  metric: Metric,
  a: readonly string[],
  b: readonly string[],
  references: readonly References[],
  { trials = 10_000, seed = defaultSeed }: RandomizationOptions = {},
): PairedResult {
  const statisticsA = corpusStatistics(metric, a, references);
  const statisticsB = corpusStatistics(metric, b, references);
  const [pValue] = randomizationPValues([[statisticsA, statisticsB]], trials, seed);
  const scoreA = resultOf(statisticsA).score;
  const scoreB = resultOf(statisticsB).score;
  const signature = signatureOf(statisticsA, { ar: trials, seed });
  return { scoreA, scoreB, delta: scoreB - scoreA, pValue: pValue!, signature };
}

/**
 * The student's score as a percentage of the teacher's on the same segments, with its interval by
 * paired resampling.
 * @throws MetricError as `checkSegments`, or for options out of range.
 */
export function retention(
  metric: Metric,
  student: readonly string[],
  teacher: readonly string[],
  references: readonly References[],
  { samples = 1000, confidence = 0.95, seed = defaultSeed }: IntervalOptions = {},
): RetentionResult {
  checkConfidence(confidence);
  const studentStatistics = corpusStatistics(metric, student, references);
  const teacherStatistics = corpusStatistics(metric, teacher, references);
  const both = [studentStatistics, teacherStatistics];
  const [studentScores, teacherScores] = bootstrapScores(both, samples, seed);
  const studentScore = resultOf(studentStatistics).score;
  const teacherScore = resultOf(teacherStatistics).score;

  const ratios = studentScores!
    .map((score, i) => (100 * score) / teacherScores![i]!)
    .filter((_, i) => teacherScores![i]! > 0);
  const defined = teacherScore > 0 && ratios.length > 0;
  const bounds = defined ? interval(ratios, confidence) : { low: undefined, high: undefined };
  return {
    studentScore,
    teacherScore,
    retention: teacherScore > 0 ? (100 * studentScore) / teacherScore : undefined,
    ...bounds,
    undefinedSamples: samples - ratios.length,
    signature: signatureOf(studentStatistics, { bs: samples, seed }),
  };
}
