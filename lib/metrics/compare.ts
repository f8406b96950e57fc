import {
  type CorpusStatistics,
  corpusStatistics,
  type Metric,
  MetricError,
  type References,
  resultOf,
  signatureOf,
} from './metric';
import {
  bootstrapPValue,
  bootstrapScores,
  checkConfidence,
  defaultSeed,
  interval,
  mean,
  randomizationPValues,
} from './resample';

/** What a system made of the segments. */
export interface System {
  readonly name: string;
  readonly hypotheses: readonly string[];
}

/** How systems are told apart: Koehn's paired bootstrap, or approximate randomisation. */
export type PairedTest = 'bootstrap' | 'approximate-randomization';

/** How systems are compared. */
export interface ComparisonOptions {
  /** Default `bootstrap`. */
  readonly test?: PairedTest;
  /** Bootstrap resamples, for the intervals and the paired bootstrap. Default 1000. */
  readonly samples?: number;
  /** Trials of approximate randomisation. Default 10,000. */
  readonly trials?: number;
  /** Default 12345, as sacreBLEU's. */
  readonly seed?: number;
  /** The share of resamples inside the intervals. Default 0.95. */
  readonly confidence?: number;
  /** p-values below it are significant. Default 0.05. */
  readonly alpha?: number;
}

/** A metric of a comparison. */
export interface ComparedMetric {
  /** As {@link Metric.name}. */
  readonly name: string;
  readonly higherIsBetter: boolean;
  /** With the test, its resamples or trials, and the seed. */
  readonly signature: string;
}

/** A system's score by one metric. */
export interface ComparedScore {
  readonly score: number;
  /** The mean over the bootstrap resamples. */
  readonly mean: number;
  /** Of the bootstrap interval. */
  readonly low: number;
  readonly high: number;
  /** Null for the baseline itself. */
  readonly versusBaseline: {
    /** This score less the baseline's. */
    readonly delta: number;
    /** The chance of so large a difference, either way, between systems that are equally good. */
    readonly pValue: number;
    readonly significant: boolean;
  } | null;
}

/** A system of a comparison. */
export interface ComparedSystem {
  readonly name: string;
  /** One a metric, in the order of {@link SystemComparison.metrics}. */
  readonly scores: readonly ComparedScore[];
}

/** Systems by metrics; a plain object that survives `JSON.stringify`. */
export interface SystemComparison {
  readonly segments: number;
  readonly test: PairedTest;
  readonly samples: number;
  /** Null for the bootstrap. */
  readonly trials: number | null;
  readonly seed: number;
  readonly confidence: number;
  readonly alpha: number;
  readonly metrics: readonly ComparedMetric[];
  /** The baseline first. */
  readonly systems: readonly ComparedSystem[];
}

/**
 * Scores systems on the same segments and tests each against the first, the baseline, as
 * sacreBLEU's `PairedTest`: p-values are its own for the same test and seed, but for a system that
 * does not differ from the baseline, which has 1. Intervals are those of `bootstrapInterval`.
 * @throws MetricError when there is no system or no metric, or two systems have one name, for
 * options out of range, and as `checkSegments`, which names the system.
 */
export function compareSystems(
  systems: readonly System[],
  references: readonly References[],
  metrics: readonly Metric[],
  options: ComparisonOptions = {},
): SystemComparison {
  const { test = 'bootstrap', samples = 1000, seed = defaultSeed } = options;
  const { confidence = 0.95, alpha = 0.05 } = options;
  const trials = test === 'bootstrap' ? undefined : (options.trials ?? 10_000);
  checkSystems(systems, metrics);
  checkConfidence(confidence);
  if (!['bootstrap', 'approximate-randomization'].includes(test)) {
    throw new MetricError(`unknown test '${test}': use bootstrap or approximate-randomization`);
  }
  if (!(alpha > 0 && alpha < 1)) {
    throw new MetricError(`alpha ${alpha}: give a level of significance above 0 and below 1`);
  }

  // All are [metric][system], p-values without the baseline.
  const statistics = metrics.map((metric) =>
    systems.map((system) => statisticsOf(metric, system, references)),
  );
  const scores = statistics.map((row) => row.map((each) => resultOf(each).score));
  const resampled = chunks(bootstrapScores(statistics.flat(), samples, seed), systems.length);
  const delta = (m: number, s: number): number => scores[m]![s]! - scores[m]![0]!;
  const pValues =
    trials === undefined
      ? resampled.map(([baseline, ...others], m) =>
          others.map((values, i) => bootstrapPValue(baseline!, values, delta(m, i + 1))),
        )
      : chunks(randomizationPValues(pairsOf(statistics), trials, seed), systems.length - 1);

  const scoreOf = (m: number, s: number): ComparedScore => {
    const values = resampled[m]![s]!;
    const pValue = pValues[m]?.[s - 1];
    return {
      score: scores[m]![s]!,
      mean: mean(values),
      ...interval(values, confidence),
      versusBaseline:
        pValue === undefined ? null : { delta: delta(m, s), pValue, significant: pValue < alpha },
    };
  };
  return {
    ...{ segments: references.length, test, samples, trials: trials ?? null, seed },
    ...{ confidence, alpha },
    metrics: metrics.map(({ name, higherIsBetter }, m) => ({
      name,
      higherIsBetter,
      signature: signatureOf(statistics[m]![0]!, { bs: samples, ar: trials, seed }),
    })),
    systems: systems.map(({ name }, s) => ({
      name,
      scores: metrics.map((_, m) => scoreOf(m, s)),
    })),
  };
}

/** Each baseline with each other system, by metric. */
function pairsOf(
  statistics: readonly (readonly CorpusStatistics[])[],
): (readonly [CorpusStatistics, CorpusStatistics])[] {
  return statistics.flatMap(([baseline, ...others]) =>
    others.map((other) => [baseline!, other] as const),
  );
}

function checkSystems(systems: readonly System[], metrics: readonly Metric[]): void {
  if (systems.length === 0) throw new MetricError('no systems to compare: give two or more');
  if (metrics.length === 0) throw new MetricError('no metric to compare systems by: give one');
  const names = systems.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new MetricError(`two systems are called '${twice}': give them different names`);
  }
}

function statisticsOf(
  metric: Metric,
  { name, hypotheses }: System,
  references: readonly References[],
): CorpusStatistics {
  try {
    return corpusStatistics(metric, hypotheses, references);
  } catch (error) {
    if (!(error instanceof MetricError)) throw error;
    throw new MetricError(`${name}: ${error.message}`, { cause: error });
  }
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  const result: T[][] = [];
  for (let at = 0; at < items.length; at += size) result.push(items.slice(at, at + size));
  return result;
}
