import {
  corpusScore,
  type Metric,
  type MetricResult,
  type References,
  SACREBLEU_VERSION,
  type Signed,
} from './metric';
import { shiftDistance } from './shift-distance';
import { separateStops, separateSymbols, unescapeXml } from './tokenizers';
import { splitWords, stripEnd } from './whitespace';

/** How TER reads its segments. All are false by default. */
export interface TerOptions {
  /** Set punctuation apart and read XML's entities. */
  readonly normalized?: boolean;
  /** Drop punctuation. */
  readonly noPunct?: boolean;
  /** Extend `normalized` and `noPunct` to Chinese and Japanese; alone it does nothing. */
  readonly asianSupport?: boolean;
  /** Compare with regard to case. */
  readonly caseSensitive?: boolean;
}

/** A TER score and what it is made of. */
export interface TerResult extends MetricResult {
  readonly edits: number;
  /** In words; of several references the mean. */
  readonly referenceLength: number;
}

const asianPunctuation =
  /[\u3001\u3002\u3008-\u3011\u3014-\u301f\uff61-\uff65\u30fb\uff0e\uff0c\uff1f\uff1a\uff1b\uff01\uff02\uff08\uff09]/gu;

/**
 * What stands alone under `asianSupport`, beside punctuation: ideographs, their strokes, radicals and
 * compatibility forms. Three more rules of `TercomTokenizer`, for kana, never match: they ask for the
 * start of a line, where a space always stands.
 */
const asianCharacters =
  /[\u2e80-\u2eff\u31c0-\u31ef\u3200-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f]/gu;

/**
 * Translation edit rate (Snover et al. 2006) as `sacrebleu.metrics.TER` computes it: insertions,
 * deletions, replacements and shifts in percent of the reference's words. Of several references the
 * fewest edits count, and the mean length. Statistics: [edits, reference length].
 */
export class Ter implements Metric<TerResult> {
  readonly name = 'TER';
  readonly settings: string;
  readonly higherIsBetter: boolean = false;
  readonly size: number = 2;
  private readonly options: TerOptions;

  constructor(options: TerOptions = {}) {
    const yes = (value: boolean): string => (value ? 'yes' : 'no');
    const { caseSensitive = false, normalized = false, noPunct = false } = options;
    this.options = options;
    this.settings =
      `case:${caseSensitive ? 'mixed' : 'lc'}|tok:tercom|norm:${yes(normalized)}|` +
      `punct:${yes(!noPunct)}|asian:${yes(options.asianSupport ?? false)}|version:${SACREBLEU_VERSION}`;
  }

  statistics(hypothesis: string, references: readonly string[]): Float64Array {
    const words = this.words(hypothesis);
    let fewest = Infinity;
    let length = 0;
    for (const reference of references) {
      // sacreBLEU normalises references twice, which is not the same where stops follow each other.
      const referenceWords = this.words(this.words(reference).join(' '));
      length += referenceWords.length;
      fewest = Math.min(fewest, shiftDistance(words, referenceWords));
    }
    return Float64Array.of(fewest, length / references.length);
  }

  fromStatistics(sum: Float64Array): TerResult {
    const [edits, referenceLength] = [sum[0]!, sum[1]!];
    // References that are nothing but punctuation may leave no word.
    const rate = referenceLength > 0 ? edits / referenceLength : edits > 0 ? 1 : 0;
    return { name: this.name, score: 100 * rate, edits, referenceLength };
  }

  /** sacreBLEU's `TercomTokenizer`. */
  private words(segment: string): string[] {
    const { normalized, noPunct, asianSupport, caseSensitive } = this.options;
    let line = stripEnd(segment);
    if (!caseSensitive) line = line.toLowerCase();
    if (normalized && line !== '') {
      line = unescapeXml(line.replaceAll('\n-', '').replaceAll('\n', ' '));
      line = separateStops(separateSymbols(` ${line} `).replaceAll("'s ", " 's "));
      if (asianSupport) {
        line = line.replace(asianCharacters, ' $& ').replace(asianPunctuation, ' $& ');
      }
    }
    if (noPunct) {
      line = line.replace(/[.,?:;!"()]/gu, '');
      if (asianSupport) line = line.replace(asianPunctuation, '');
    }
    return splitWords(line);
  }
}

/**
 * Corpus TER, lower is better; element i of `references` is the reference of hypothesis i, or
 * several.
 * @throws MetricError as `checkSegments`.
 */
export function ter(
  hypotheses: readonly string[],
  references: readonly References[],
  options: TerOptions = {},
): Signed<TerResult> {
  return corpusScore(new Ter(options), hypotheses, references);
}
