import { PareError } from '../errors';
import { strip } from './whitespace';

/** Hypotheses and references do not make a set that can be scored, or an option is unknown. */
export class MetricError extends PareError {}

/** The sacreBLEU whose scores these are; its vectors are in `test/oracle/vectors/metrics.json`. */
export const SACREBLEU_VERSION = '2.6.0';

/** What a segment is compared with: one reference or several. */
export type References = string | readonly string[];

/** A score of a corpus. */
export interface MetricResult {
  /**
   * The name of the score as sacreBLEU prints it (`BLEU`, `chrF2`, `chrF2++`, `TER`), or `WER`,
   * `CER`, `exact_match`.
   */
  readonly name: string;
  /** In percent; rates of error may be above 100. */
  readonly score: number;
}

/** A result with what is needed to compute the score again, in sacreBLEU's form. */
export type Signed<Result extends MetricResult = MetricResult> = Result & {
  readonly signature: string;
};

/**
 * A metric that is a function of sums: each segment gives a vector of counts, and the score of a
 * corpus follows from the sum of its segments' vectors. So corpus score, bootstrap and paired
 * tests read every string once.
 */
export interface Metric<Result extends MetricResult = MetricResult> {
  readonly name: string;
  /** The end of the signature, behind what belongs to the corpus and the resampling. */
  readonly settings: string;
  /** False for rates of error. */
  readonly higherIsBetter: boolean;
  /** The length of a vector of statistics. */
  readonly size: number;
  /** The sufficient statistics of one segment, which has one reference at least: [size] numbers. */
  statistics(hypothesis: string, references: readonly string[]): Float64Array;
  /** The score of the corpus whose segments' statistics sum to `sum` ([size]). */
  fromStatistics(sum: Float64Array): Result;
}

/** The statistics of a corpus by one metric. */
export interface CorpusStatistics<Result extends MetricResult = MetricResult> {
  readonly metric: Metric<Result>;
  readonly segments: number;
  /** [segments, metric.size] */
  readonly values: Float64Array;
  /** References of each segment, or `var` where not all have the same number. */
  readonly references: number | 'var';
}

/** How a score was resampled, for the signature. */
export interface Resampling {
  /** Bootstrap resamples. */
  readonly bs?: number;
  /** Trials of approximate randomisation. */
  readonly ar?: number;
  readonly seed?: number;
}

/**
 * Checks that the sets can be scored together, and gives every segment's references.
 * @throws MetricError when they are empty, differ in length, hold something that is not a string, or
 * a reference is empty; segments are numbered from 1.
 */
export function checkSegments(
  hypotheses: readonly string[],
  references: readonly References[],
): (readonly string[])[] {
  if (hypotheses.length !== references.length) {
    const given = `${count(hypotheses, 'hypothesis', 'hypotheses')} but ${count(references, 'reference', 'references')}`;
    throw new MetricError(`${given}: give a reference for each hypothesis, in the same order`);
  }
  if (references.length === 0) {
    throw new MetricError('no segments to score: the set of hypotheses and references is empty');
  }
  return references.map((given, i) => {
    if (typeof hypotheses[i] !== 'string') {
      throw new MetricError(
        `segment ${i + 1}: the hypothesis is not a string; for no output give ''`,
      );
    }
    const all = Array.isArray(given) ? (given as readonly string[]) : [given as string];
    if (all.length === 0) {
      throw new MetricError(`segment ${i + 1} has no reference; give one or drop the segment`);
    }
    for (const [k, reference] of all.entries()) {
      if (typeof reference === 'string' && strip(reference) !== '') continue;
      const which = all.length === 1 ? 'the reference' : `reference ${k + 1}`;
      throw new MetricError(`segment ${i + 1}: ${which} is empty; correct it or drop the segment`);
    }
    return all;
  });
}

function count(items: readonly unknown[], one: string, many: string): string {
  return `${items.length} ${items.length === 1 ? one : many}`;
}

/**
 * The statistics of every segment.
 * @throws MetricError as {@link checkSegments}.
 */
export function corpusStatistics<Result extends MetricResult>(
  metric: Metric<Result>,
  hypotheses: readonly string[],
  references: readonly References[],
): CorpusStatistics<Result> {
  const checked = checkSegments(hypotheses, references);
  const values = new Float64Array(hypotheses.length * metric.size);
  for (const [i, hypothesis] of hypotheses.entries()) {
    values.set(metric.statistics(hypothesis, checked[i]!), i * metric.size);
  }
  const first = checked[0]!.length;
  const same = checked.every(({ length }) => length === first);
  return { metric, segments: checked.length, values, references: same ? first : 'var' };
}

/** The sum of all segments' statistics: [metric.size]. */
export function sumStatistics({ metric, values }: CorpusStatistics): Float64Array {
  const sum = new Float64Array(metric.size);
  for (let at = 0; at < values.length; at += metric.size) {
    for (let k = 0; k < sum.length; k++) sum[k]! += values[at + k]!;
  }
  return sum;
}

/** The result of a whole corpus. */
export function resultOf<Result extends MetricResult>(
  statistics: CorpusStatistics<Result>,
): Result {
  return statistics.metric.fromStatistics(sumStatistics(statistics));
}

/** As sacreBLEU writes it: `nrefs:1|bs:1000|seed:12345|case:mixed|…`. */
export function signatureOf(
  { metric, references }: CorpusStatistics,
  { bs, ar, seed }: Resampling = {},
): string {
  const parts = { nrefs: references, bs, ar, seed };
  const head = Object.entries(parts).filter(([, value]) => value !== undefined);
  return [...head.map(([key, value]) => `${key}:${value}`), metric.settings].join('|');
}

/**
 * The score of a corpus; element i of `references` is the reference of hypothesis i, or several.
 * @throws MetricError when there are none, their numbers differ, or a reference is empty; it names
 * the segment, counted from 1.
 */
export function corpusScore<Result extends MetricResult>(
  metric: Metric<Result>,
  hypotheses: readonly string[],
  references: readonly References[],
): Signed<Result> {
  const statistics = corpusStatistics(metric, hypotheses, references);
  return { ...resultOf(statistics), signature: signatureOf(statistics) };
}
