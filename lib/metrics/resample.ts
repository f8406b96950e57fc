/** Pseudo-corpora for significance tests, drawn as sacreBLEU's `significance.py` draws them. */
import { type CorpusStatistics, MetricError, sumStatistics } from './metric';
import { Pcg64 } from './prng';

/** sacreBLEU's. */
export const defaultSeed = 12345;

function checkCount(count: number, what: string): void {
  if (!Number.isInteger(count) || count < 1) {
    throw new MetricError(`${count} ${what}: give a whole number that is at least 1`);
  }
}

/** The share of pseudo-corpora that differ more, none of them counted as one. */
function share(values: Float64Array, observed: number): number {
  let more = 0;
  for (const value of values) if (value > observed) more++;
  return (more + 1) / (values.length + 1);
}

/**
 * The two-sided p-value of a paired bootstrap: resamples whose difference exceeds the mean difference
 * by more than the corpus differs.
 */
export function bootstrapPValue(a: Float64Array, b: Float64Array, delta: number): number {
  const differences = a.map((score, i) => Math.abs(b[i]! - score));
  // sacreBLEU gives its least p-value to a system against itself.
  if (differences.every((difference) => difference === 0)) return 1;
  const centre = mean(differences);
  return share(
    differences.map((difference) => difference - centre),
    Math.abs(delta),
  );
}

/** The bounds that leave an equal share of the values outside at either end, as sacreBLEU counts. */
export function interval(values: Float64Array, confidence: number): { low: number; high: number } {
  const sorted = values.slice().sort();
  // 1e-9: (1 - 0.9) / 2 * 1000 falls short of 50 by rounding.
  const outside = Math.floor((sorted.length * (1 - confidence)) / 2 + 1e-9);
  return { low: sorted[outside]!, high: sorted[sorted.length - 1 - outside]! };
}

export function checkConfidence(confidence: number): void {
  if (!(confidence > 0 && confidence < 1)) {
    throw new MetricError(`confidence ${confidence}: give a share above 0 and below 1, as 0.95`);
  }
}

export function mean(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0) / values.length;
}

/**
 * Scores resamples of a corpus: each draws as many segments as there are, with replacement, the same
 * for all `statistics`, which may be of several systems and several metrics. Gives [samples] scores
 * for each.
 */
export function bootstrapScores(
  statistics: readonly CorpusStatistics[],
  samples: number,
  seed: number,
): Float64Array[] {
  checkCount(samples, 'bootstrap samples');
  const generator = new Pcg64(seed);
  const { segments } = statistics[0]!;
  const drawn = new Uint32Array(segments);
  const scores = statistics.map(() => new Float64Array(samples));
  const sums = statistics.map(({ metric }) => new Float64Array(metric.size));
  for (let sample = 0; sample < samples; sample++) {
    for (let i = 0; i < segments; i++) drawn[i] = generator.nextBelow(segments);
    for (let s = 0; s < statistics.length; s++) {
      const { metric, values } = statistics[s]!;
      const sum = sums[s]!.fill(0);
      for (let i = 0; i < segments; i++) {
        const at = drawn[i]! * sum.length;
        for (let k = 0; k < sum.length; k++) sum[k]! += values[at + k]!;
      }
      scores[s]![sample] = metric.fromStatistics(sum).score;
    }
  }
  return scores;
}

/**
 * The two-sided p-values of approximate randomisation (Riezler and Maxwell 2005) for each pair
 * [baseline, system] of statistics of the same segments: in each trial every segment's translations
 * change sides with an even chance, the same for all pairs; counted are the trials in which the sides
 * differ more than the systems do.
 */
export function randomizationPValues(
  pairs: readonly (readonly [CorpusStatistics, CorpusStatistics])[],
  trials: number,
  seed: number,
): number[] {
  checkCount(trials, 'trials');
  const bit = new Pcg64(seed).bits();
  const tests = pairs.map(([a, b]) => new SideChange(a, b, trials));
  const changed = new Uint32Array(pairs[0]?.[0].segments ?? 0);
  for (let trial = 0; trial < trials; trial++) {
    let count = 0;
    for (let i = 0; i < changed.length; i++) if (bit() === 1) changed[count++] = i;
    for (const test of tests) test.run(trial, changed.subarray(0, count));
  }
  return tests.map((test) => test.pValue());
}

/** One pair under approximate randomisation. */
class SideChange {
  /** Baseline less system, by segment. */
  private readonly gaps: Float64Array;
  private readonly a: Float64Array;
  private readonly b: Float64Array;
  private readonly metric: CorpusStatistics['metric'];
  private readonly differences: Float64Array;
  private readonly observed: number;
  private readonly sumA: Float64Array;
  private readonly sumB: Float64Array;

  constructor(a: CorpusStatistics, b: CorpusStatistics, trials: number) {
    this.metric = a.metric;
    this.gaps = a.values.map((value, i) => value - b.values[i]!);
    [this.a, this.b] = [a, b].map(sumStatistics) as [Float64Array, Float64Array];
    this.sumA = new Float64Array(this.metric.size);
    this.sumB = new Float64Array(this.metric.size);
    this.differences = new Float64Array(trials);
    this.observed = this.difference(this.a, this.b);
  }

  /** The first side has the baseline's translations of `segments` and the system's of the others. */
  run(trial: number, segments: Uint32Array): void {
    const { a, b, gaps, sumA, sumB } = this;
    sumA.set(b);
    for (let i = 0; i < segments.length; i++) {
      const at = segments[i]! * sumA.length;
      for (let k = 0; k < sumA.length; k++) sumA[k]! += gaps[at + k]!;
    }
    for (let k = 0; k < sumB.length; k++) sumB[k] = a[k]! + b[k]! - sumA[k]!;
    this.differences[trial] = this.difference(sumA, sumB);
  }

  pValue(): number {
    // As with the bootstrap, a system does not differ from itself.
    if (this.gaps.every((gap) => gap === 0)) return 1;
    return share(this.differences, this.observed);
  }

  private difference(sumA: Float64Array, sumB: Float64Array): number {
    const { metric } = this;
    return Math.abs(metric.fromStatistics(sumA).score - metric.fromStatistics(sumB).score);
  }
}
