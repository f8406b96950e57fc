import {
  corpusScore,
  type Metric,
  type MetricResult,
  type References,
  type Signed,
} from './metric';
import { strip } from './whitespace';

/** What counts as equal. */
export interface ExactMatchOptions {
  /** Compare without regard to case. Default false. */
  readonly lowercase?: boolean;
}

/** The share of hypotheses that equal their reference, and the counts behind it. */
export interface ExactMatchResult extends MetricResult {
  readonly matches: number;
  readonly segments: number;
}

/**
 * The percentage of hypotheses equal to a reference, whitespace at both ends aside. Statistics:
 * [1 if equal, 1].
 */
export class ExactMatch implements Metric<ExactMatchResult> {
  readonly name = 'exact_match';
  readonly settings: string;
  readonly higherIsBetter: boolean = true;
  readonly size: number = 2;
  private readonly lowercase: boolean;

  constructor({ lowercase = false }: ExactMatchOptions = {}) {
    this.lowercase = lowercase;
    this.settings = `case:${lowercase ? 'lc' : 'mixed'}|trim:yes`;
  }

  statistics(hypothesis: string, references: readonly string[]): Float64Array {
    const text = this.normalise(hypothesis);
    const equal = references.some((reference) => this.normalise(reference) === text);
    return Float64Array.of(equal ? 1 : 0, 1);
  }

  fromStatistics(sum: Float64Array): ExactMatchResult {
    const matches = sum[0]!;
    const segments = sum[1]!;
    const score = segments > 0 ? (100 * matches) / segments : 0;
    return { name: this.name, score, matches, segments };
  }

  private normalise(segment: string): string {
    return strip(this.lowercase ? segment.toLowerCase() : segment);
  }
}

/**
 * The percentage of hypotheses equal to their reference, or one of several, whitespace at both ends
 * aside.
 * @throws MetricError as `checkSegments`.
 */
export function exactMatch(
  hypotheses: readonly string[],
  references: readonly References[],
  options: ExactMatchOptions = {},
): Signed<ExactMatchResult> {
  return corpusScore(new ExactMatch(options), hypotheses, references);
}
