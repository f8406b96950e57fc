import { corpusStatistics, type Metric, MetricError, sumStatistics } from './metric';
import { Pcg64 } from './prng';

/** How often and how to resample. */
export interface BootstrapOptions {
  /** The number of resamples. Default 1000, as sacreBLEU's. */
  readonly samples?: number;
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
 * Scores resamples of a corpus: each draws as many segments as there are, with replacement, the same
 * for every system. Gives one array of [samples] scores for each system.
 */
function resample(
  metric: Metric,
  systems: readonly (readonly Float64Array[])[],
  samples: number,
  seed: number,
): Float64Array[] {
  if (!Number.isInteger(samples) || samples < 1) {
    throw new MetricError(`${samples} bootstrap samples: give a whole number that is at least 1`);
  }
  const generator = new Pcg64(seed);
  const segments = systems[0]!.length;
  const scores = systems.map(() => new Float64Array(samples));
  const drawn = new Uint32Array(segments);
  const sum = new Float64Array(metric.size);
  for (let sample = 0; sample < samples; sample++) {
    for (let i = 0; i < segments; i++) drawn[i] = generator.nextBelow(segments);
    for (const [system, statistics] of systems.entries()) {
      sum.fill(0);
      for (const i of drawn) {
        const segment = statistics[i]!;
        for (let k = 0; k < sum.length; k++) sum[k]! += segment[k]!;
      }
      scores[system]![sample] = metric.fromStatistics(sum).score;
    }
  }
  return scores;
}

/** The bounds that leave an equal share of the values outside at either end, as sacreBLEU counts. */
function interval(values: Float64Array, confidence: number): { low: number; high: number } {
  const sorted = values.slice().sort();
  // 1e-9: (1 - 0.9) / 2 * 1000 falls short of 50 by rounding.
  const outside = Math.floor((sorted.length * (1 - confidence)) / 2 + 1e-9);
  return { low: sorted[outside]!, high: sorted[sorted.length - 1 - outside]! };
}

function checkConfidence(confidence: number): void {
  if (!(confidence > 0 && confidence < 1)) {
    throw new MetricError(`confidence ${confidence}: give a share above 0 and below 1, as 0.95`);
  }
}

function mean(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0) / values.length;
}

function scoreOf(metric: Metric, statistics: readonly Float64Array[]): number {
  return metric.fromStatistics(sumStatistics(statistics, metric.size)).score;
}

/** sacreBLEU names resamples and seed after the number of references. */
function bootstrapSignature(metric: Metric, samples: number, seed: number): string {
  return metric.signature.replace(/^nrefs:\d+/, (head) => `${head}|bs:${samples}|seed:${seed}`);
}

/**
 * The score of a corpus with its confidence interval by bootstrap resampling (Koehn 2004, as
 * `sacrebleu.metrics.Metric.corpus_score` with `n_bootstrap`; the same resamples for the same seed).
 * @throws MetricError as `checkSegments`, or for options out of range.
 */
export function bootstrapInterval(
  metric: Metric,
  hypotheses: readonly string[],
  references: readonly string[],
  { samples = 1000, confidence = 0.95, seed = 12345 }: IntervalOptions = {},
): IntervalResult {
  checkConfidence(confidence);
  const statistics = corpusStatistics(metric, hypotheses, references);
  const scores = resample(metric, [statistics], samples, seed)[0]!;
  return {
    score: scoreOf(metric, statistics),
    mean: mean(scores),
    ...interval(scores, confidence),
    signature: bootstrapSignature(metric, samples, seed),
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
  references: readonly string[],
  { samples = 1000, seed = 12345 }: BootstrapOptions = {},
): PairedResult {
  const statisticsA = corpusStatistics(metric, a, references);
  const statisticsB = corpusStatistics(metric, b, references);
  const [scoresA, scoresB] = resample(metric, [statisticsA, statisticsB], samples, seed);
  const scoreA = scoreOf(metric, statisticsA);
  const scoreB = scoreOf(metric, statisticsB);
  const delta = scoreB - scoreA;

  const differences = scoresA!.map((score, i) => Math.abs(scoresB![i]! - score));
  const centre = mean(differences);
  const asLarge = differences.filter((difference) => difference - centre > Math.abs(delta)).length;
  const same = differences.every((difference) => difference === 0);
  return {
    scoreA,
    scoreB,
    delta,
    pValue: same ? 1 : (asLarge + 1) / (samples + 1),
    signature: bootstrapSignature(metric, samples, seed),
  };
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
  references: readonly string[],
  { samples = 1000, confidence = 0.95, seed = 12345 }: IntervalOptions = {},
): RetentionResult {
  checkConfidence(confidence);
  const studentStatistics = corpusStatistics(metric, student, references);
  const teacherStatistics = corpusStatistics(metric, teacher, references);
  const systems = [studentStatistics, teacherStatistics];
  const [studentScores, teacherScores] = resample(metric, systems, samples, seed);
  const studentScore = scoreOf(metric, studentStatistics);
  const teacherScore = scoreOf(metric, teacherStatistics);

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
    signature: bootstrapSignature(metric, samples, seed),
  };
}
