import {
  corpusScore,
  type Metric,
  MetricError,
  type MetricResult,
  type References,
  SACREBLEU_VERSION,
  type Signed,
} from './metric';
import { countNgrams, matchCount, type NgramCounts } from './ngrams';
import { type Tokenizer, type TokenizerName, tokenizers } from './tokenizers';
import { stripEnd } from './whitespace';

/** How BLEU reads its segments. */
export interface BleuOptions {
  /** Unless given, `zh` where the target language is Chinese, and `13a` elsewhere. */
  readonly tokenize?: TokenizerName;
  /** Two-letter code of the hypotheses' language; a region may follow, as of `zh-CN`. */
  readonly targetLanguage?: string;
  /** Compare without regard to case. Default false. */
  readonly lowercase?: boolean;
}

/** A BLEU score and what it is made of. */
export interface BleuResult extends MetricResult {
  /** In percent, by order from 1 to 4, smoothed where nothing matched. */
  readonly precisions: readonly number[];
  /** Matching n-grams by order. */
  readonly counts: readonly number[];
  /** N-grams of the hypotheses by order. */
  readonly totals: readonly number[];
  readonly brevityPenalty: number;
  /** In words. */
  readonly hypothesisLength: number;
  /** In words; of several references the one closest in length counts. */
  readonly referenceLength: number;
}

const maxOrder = 4;

/**
 * Corpus BLEU (Papineni et al. 2002) with exponential smoothing, as `sacrebleu.metrics.BLEU`
 * computes it by default. An n-gram matches as often as the one reference that has it most often.
 * Statistics: [hypothesis length, reference length, matches by order, totals by order].
 */
export class Bleu implements Metric<BleuResult> {
  readonly name = 'BLEU';
  readonly settings: string;
  readonly higherIsBetter: boolean = true;
  readonly size: number = 2 + 2 * maxOrder;
  private readonly tokenizer: Tokenizer;
  private readonly lowercase: boolean;

  /** @throws MetricError for an unknown tokenizer. */
  constructor({
    targetLanguage,
    tokenize = /^zh(?![a-z])/i.test(targetLanguage ?? '') ? 'zh' : '13a',
    lowercase = false,
  }: BleuOptions = {}) {
    if (!Object.hasOwn(tokenizers, tokenize)) {
      const known = Object.keys(tokenizers).sort().join(', ');
      throw new MetricError(`unknown BLEU tokenizer '${String(tokenize)}': use one of ${known}`);
    }
    this.tokenizer = tokenizers[tokenize];
    this.lowercase = lowercase;
    this.settings = `case:${lowercase ? 'lc' : 'mixed'}|eff:no|tok:${tokenize}|smooth:exp|version:${SACREBLEU_VERSION}`;
  }

  statistics(hypothesis: string, references: readonly string[]): Float64Array {
    const words = this.words(hypothesis);
    const ngrams = countNgrams(words, maxOrder, ' ');
    const cut = references.map((reference) => this.words(reference));
    const [first, ...others] = cut.map((r) => countNgrams(r, maxOrder, ' '));
    for (const other of others) {
      for (const [n, counts] of other.entries()) raise(first![n]!, counts);
    }
    const statistics = new Float64Array(this.size);
    statistics[0] = words.length;
    statistics[1] = closest(
      words.length,
      cut.map(({ length }) => length),
    );
    for (let n = 0; n < maxOrder; n++) {
      statistics[2 + n] = matchCount(ngrams[n]!, first![n]!);
      statistics[2 + maxOrder + n] = Math.max(0, words.length - n);
    }
    return statistics;
  }

  fromStatistics(sum: Float64Array): BleuResult {
    const hypothesisLength = sum[0]!;
    const referenceLength = sum[1]!;
    const counts = [...sum.subarray(2, 2 + maxOrder)];
    const totals = [...sum.subarray(2 + maxOrder)];

    let brevityPenalty = 1;
    if (hypothesisLength < referenceLength) {
      brevityPenalty = hypothesisLength > 0 ? Math.exp(1 - referenceLength / hypothesisLength) : 0;
    }
    const precisions = new Array<number>(maxOrder).fill(0);
    let score = 0;
    // Smoothing must not make a score out of no match at all.
    if (counts.some((count) => count > 0)) {
      let smoothing = 1;
      for (let n = 0; n < maxOrder && totals[n]! > 0; n++) {
        if (counts[n] === 0) smoothing *= 2;
        const count = counts[n] === 0 ? 1 / smoothing : counts[n]!;
        precisions[n] = (100 * count) / totals[n]!;
      }
      // An order without any n-gram has precision 0 and makes the geometric mean 0.
      const logarithms = precisions.reduce((total, precision) => total + Math.log(precision), 0);
      score = brevityPenalty * Math.exp(logarithms / maxOrder);
    }
    return {
      name: this.name,
      score,
      precisions,
      counts,
      totals,
      brevityPenalty,
      hypothesisLength,
      referenceLength,
    };
  }

  private words(segment: string): string[] {
    return this.tokenizer(stripEnd(this.lowercase ? segment.toLowerCase() : segment));
  }
}

/** Raises every count to that of `other`. */
function raise(counts: NgramCounts, other: NgramCounts): void {
  for (const [key, count] of other) counts.set(key, Math.max(count, counts.get(key) ?? 0));
}

/** Of equally close lengths the shorter. */
function closest(length: number, candidates: readonly number[]): number {
  return candidates.reduce((best, candidate) => {
    const nearer = Math.abs(length - candidate) - Math.abs(length - best);
    return nearer < 0 || (nearer === 0 && candidate < best) ? candidate : best;
  });
}

/**
 * Corpus BLEU; element i of `references` is the reference of hypothesis i, or several.
 * @throws MetricError as `checkSegments`, or for an unknown tokenizer.
 */
export function bleu(
  hypotheses: readonly string[],
  references: readonly References[],
  options: BleuOptions = {},
): Signed<BleuResult> {
  return corpusScore(new Bleu(options), hypotheses, references);
}
