import {
  corpusScore,
  type Metric,
  MetricError,
  type MetricResult,
  SACREBLEU_VERSION,
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
 * and recall averaged over the orders that occur. Statistics: for each order, characters first,
 * [n-grams of the hypothesis, n-grams of the reference, matches].
 */
export class Chrf implements Metric<ChrfResult> {
  readonly name: string;
  readonly signature: string;
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
    this.signature =
      `nrefs:1|case:${lowercase ? 'lc' : 'mixed'}|eff:yes|nc:${charOrder}|nw:${wordOrder}|` +
      `space:${whitespace ? 'yes' : 'no'}|version:${SACREBLEU_VERSION}`;
  }

  statistics(hypothesis: string, reference: string): Float64Array {
    const hypothesisNgrams = this.ngrams(hypothesis);
    const referenceNgrams = this.ngrams(reference);
    const statistics = new Float64Array(this.size);
    for (const [order, referenceCounts] of referenceNgrams.entries()) {
      const hypothesisCounts = hypothesisNgrams[order]!;
      // What the reference is too short to have is not held against the hypothesis.
      statistics[3 * order] = referenceCounts.size > 0 ? totalCount(hypothesisCounts) : 0;
      statistics[3 * order + 1] = totalCount(referenceCounts);
      statistics[3 * order + 2] = matchCount(hypothesisCounts, referenceCounts);
    }
    return statistics;
  }

  fromStatistics(sum: Float64Array): ChrfResult {
    const { charOrder, wordOrder, beta } = this.options;
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
    let score = 0;
    if (precision + recall > 0) {
      precision /= orders;
      recall /= orders;
      const factor = beta ** 2;
      score = (100 * (1 + factor) * precision * recall) / (factor * precision + recall);
    }
    return { name: this.name, score, signature: this.signature, charOrder, wordOrder, beta };
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
 * Corpus chrF, or chrF++ with `wordOrder: 2`, one reference a hypothesis.
 * @throws MetricError as `checkSegments`, or for an order that makes no score.
 */
export function chrf(
  hypotheses: readonly string[],
  references: readonly string[],
  options: ChrfOptions = {},
): ChrfResult {
  return corpusScore(new Chrf(options), hypotheses, references);
}
