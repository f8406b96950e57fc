import { PareError } from '../errors';
import { strip } from './whitespace';

/** Hypotheses and references do not make a set that can be scored, or an option is unknown. */
export class MetricError extends PareError {}

/** The sacreBLEU whose scores these are; its vectors are in `test/oracle/vectors/metrics.json`. */
export const SACREBLEU_VERSION = '2.6.0';

/** A score of a corpus. */
export interface MetricResult {
  /** The name of the score as sacreBLEU prints it (`BLEU`, `chrF2`, `chrF2++`), or `exact_match`. */
  readonly name: string;
  /** From 0 to 100; higher is better. */
  readonly score: number;
  /** What is needed to compute the score again, in sacreBLEU's form. */
  readonly signature: string;
}

/**
 * A metric that is a function of sums: each segment gives a vector of counts, and the score of a
 * corpus follows from the sum of its segments' vectors. So corpus score, bootstrap and paired
 * bootstrap read every string once.
 */
export interface Metric<Result extends MetricResult = MetricResult> {
  readonly name: string;
  readonly signature: string;
  /** The length of a vector of statistics. */
  readonly size: number;
  /** The sufficient statistics of one segment: [size] counts. */
  statistics(hypothesis: string, reference: string): Float64Array;
  /** The score of the corpus whose segments' statistics sum to `sum` ([size]). */
  fromStatistics(sum: Float64Array): Result;
}

/**
 * Checks that the sets can be scored together.
 * @throws MetricError when they are empty, differ in length, hold something that is not a string, or
 * a reference is empty; segments are numbered from 1.
 */
export function checkSegments(hypotheses: readonly string[], references: readonly string[]): void {
  if (hypotheses.length !== references.length) {
    throw new MetricError(
      `${hypotheses.length} hypotheses but ${references.length} references: give one reference a hypothesis, in the same order`,
    );
  }
  if (references.length === 0) {
    throw new MetricError('no segments to score: the set of hypotheses and references is empty');
  }
  for (const [i, reference] of references.entries()) {
    if (typeof hypotheses[i] !== 'string') {
      throw new MetricError(
        `segment ${i + 1}: the hypothesis is not a string; for no output give ''`,
      );
    }
    if (typeof reference !== 'string' || strip(reference) === '') {
      throw new MetricError(
        `segment ${i + 1}: the reference is empty; correct it or drop the segment`,
      );
    }
  }
}

/**
 * The statistics of every segment, one vector of [metric.size] each.
 * @throws MetricError as {@link checkSegments}.
 */
export function corpusStatistics(
  metric: Metric,
  hypotheses: readonly string[],
  references: readonly string[],
): Float64Array[] {
  checkSegments(hypotheses, references);
  return hypotheses.map((hypothesis, i) => metric.statistics(hypothesis, references[i]!));
}

/** The sum of vectors of statistics. */
export function sumStatistics(statistics: readonly Float64Array[], size: number): Float64Array {
  const sum = new Float64Array(size);
  for (const segment of statistics) {
    for (let k = 0; k < size; k++) sum[k]! += segment[k]!;
  }
  return sum;
}

/**
 * The score of a corpus; element i of `references` is the reference of hypothesis i.
 * @throws MetricError as {@link checkSegments}.
 */
export function corpusScore<Result extends MetricResult>(
  metric: Metric<Result>,
  hypotheses: readonly string[],
  references: readonly string[],
): Result {
  const statistics = corpusStatistics(metric, hypotheses, references);
  return metric.fromStatistics(sumStatistics(statistics, metric.size));
}
