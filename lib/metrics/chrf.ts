import {
  corpusScore,
  type Metric,
  MetricError,
  type MetricResult,
  type References,
  SACREBLEU_VERSION,
  type Signed,
} from './metric';
import { countNgrams, matchCount, type NgramCounts, totalCount } from './ngrams';
import { splitWords } from './whitespace';

/** How chrF counts. */
export interface ChrfOptions {
  /** The longest word n-gram: 0 is chrF, 2 is chrF++. Default 0. */
  readonly wordOrder?: number;
  /** The longest character n-gram. Default 6. */
  readonly charOrder?: number;
  /** The weight of recall against precision. Default 2. */
  readonly beta?: number;
  /** Compare without regard to case. Default false. */
  readonly lowercase?: boolean;
  /** Let character n-grams include whitespace. Default false. */
  readonly whitespace?: boolean;
}

/** A chrF score and its parameters. */
export interface ChrfResult extends MetricResult {
  readonly charOrder: number;
  readonly wordOrder: number;
  readonly beta: number;
}

/** Python's `string.punctuation`. */
const punctuation = new Set('!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~');

/**
 * Words with one punctuation mark taken off their end or, failing that, their start; so `(hi)` gives
 * `(hi` and `)`, as in sacreBLEU and Popović's chrF++.py.
 */
function splitPunctuation(segment: string): string[] {
  return splitWords(segment).flatMap((word) => {
    // A mark is one UTF-16 unit, so a word of one astral character falls through whole.
    if (word.length === 1) return [word];
    if (punctuation.has(word.at(-1)!)) return [word.slice(0, -1), word.slice(-1)];
    if (punctuation.has(word[0]!)) return [word[0]!, word.slice(1)];
    return [word];
  });
}

function checkOrder(name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least) {
    throw new MetricError(
      `chrF's ${name} is ${value}: give a whole number that is at least ${least}`,
    );
  }
}

/**
 * chrF (Popović 2015) and chrF++ (Popović 2017) as `sacrebleu.metrics.CHRF` computes them: precision
 * and recall averaged over the orders that occur. Of several references the one with the best score
 * counts. Statistics: for each order, characters first, [n-grams of the hypothesis, n-grams of the
 * reference, matches].
 */
export class Chrf implements Metric<ChrfResult> {
  readonly name: string;
  readonly settings: string;
  readonly higherIsBetter: boolean = true;
  readonly size: number;
  private readonly options: Required<ChrfOptions>;

  /** @throws MetricError for an order or a beta that makes no score. */
  constructor(options: ChrfOptions = {}) {
    const {
      wordOrder = 0,
      charOrder = 6,
      beta = 2,
      lowercase = false,
      whitespace = false,
    } = options;
    checkOrder('charOrder', charOrder, 1);
    checkOrder('wordOrder', wordOrder, 0);
    checkOrder('beta', beta, 1);
    this.options = { wordOrder, charOrder, beta, lowercase, whitespace };
    this.name = `chrF${beta}${'+'.repeat(wordOrder)}`;
    this.size = 3 * (charOrder + wordOrder);
    this.settings =
      `case:${lowercase ? 'lc' : 'mixed'}|eff:yes|nc:${charOrder}|nw:${wordOrder}|` +
      `space:${whitespace ? 'yes' : 'no'}|version:${SACREBLEU_VERSION}`;
  }

  statistics(hypothesis: string, references: readonly string[]): Float64Array {
    const ngrams = this.ngrams(hypothesis);
    const [first, ...others] = references.map((r) => this.matches(ngrams, this.ngrams(r)));
    let best = first!;
    if (others.length === 0) return best;
    let bestScore = this.score(best);
    for (const other of others) {
      const score = this.score(other);
      if (score > bestScore) [best, bestScore] = [other, score];
    }
    return best;
  }

  fromStatistics(sum: Float64Array): ChrfResult {
    const { charOrder, wordOrder, beta } = this.options;
    return { name: this.name, score: this.score(sum), charOrder, wordOrder, beta };
  }

  private score(sum: Float64Array): number {
    let precision = 0;
    let recall = 0;
    let orders = 0;
    for (let at = 0; at < this.size; at += 3) {
      const inHypothesis = sum[at]!;
      const inReference = sum[at + 1]!;
      if (inHypothesis === 0 || inReference === 0) continue;
      precision += sum[at + 2]! / inHypothesis;
      recall += sum[at + 2]! / inReference;
      orders++;
    }
    if (precision + recall === 0) return 0;
    precision /= orders;
    recall /= orders;
    // sacreBLEU's order of operations: which of two references is better can hang on the last bit.
    const factor = this.options.beta ** 2;
    return 100 * (((1 + factor) * precision * recall) / (factor * precision + recall));
  }

  private matches(hypothesis: readonly NgramCounts[], reference: NgramCounts[]): Float64Array {
    const statistics = new Float64Array(this.size);
    for (const [order, referenceCounts] of reference.entries()) {
      const hypothesisCounts = hypothesis[order]!;
      // What the reference is too short to have is not held against the hypothesis.
      statistics[3 * order] = referenceCounts.size > 0 ? totalCount(hypothesisCounts) : 0;
      statistics[3 * order + 1] = totalCount(referenceCounts);
      statistics[3 * order + 2] = matchCount(hypothesisCounts, referenceCounts);
    }
    return statistics;
  }

  private ngrams(segment: string): NgramCounts[] {
    const { charOrder, wordOrder, lowercase, whitespace } = this.options;
    const text = lowercase ? segment.toLowerCase() : segment;
    const characters = Array.from(whitespace ? text : splitWords(text).join(''));
    const words = wordOrder > 0 ? splitPunctuation(text) : [];
    return [...countNgrams(characters, charOrder, ''), ...countNgrams(words, wordOrder, ' ')];
  }
}

/**
 * Corpus chrF, or chrF++ with `wordOrder: 2`; element i of `references` is the reference of
 * hypothesis i, or several.
 * @throws MetricError as `checkSegments`, or for an order that makes no score.
 */
export function chrf(
  hypotheses: readonly string[],
  references: readonly References[],
  options: ChrfOptions = {},
): Signed<ChrfResult> {
  return corpusScore(new Chrf(options), hypotheses, references);
}
