import { editCounts } from './edit-counts';
import { corpusScore, type Metric, MetricError, type MetricResult, type Signed } from './metric';
import { type NormalizerName, normalizers } from './normalizers';
import { splitWords, strip } from './whitespace';

/** What is done to both sides before they are compared. */
export interface ErrorRateOptions {
  /** Whisper's normaliser for English, its basic one for any language, or none. Default `none`. */
  readonly normalizer?: NormalizerName;
}

/** A rate of error and what it is made of. */
export interface ErrorRateResult extends MetricResult {
  readonly hits: number;
  readonly substitutions: number;
  readonly deletions: number;
  readonly insertions: number;
  /** Words or characters of the references: hits, substitutions and deletions. */
  readonly referenceLength: number;
}

const units = {
  word: { name: 'WER', cut: splitWords },
  character: { name: 'CER', cut: (text: string): string[] => Array.from(strip(text)) },
} as const;

/**
 * Word or character error rate as jiwer computes it: the fewest substitutions, deletions and
 * insertions in percent of the reference's length. Statistics: [hits, substitutions, deletions,
 * insertions].
 */
export class ErrorRate implements Metric<ErrorRateResult> {
  readonly name: string;
  readonly settings: string;
  readonly higherIsBetter: boolean = false;
  readonly size: number = 4;
  private readonly cut: (text: string) => string[];
  private readonly normalize: (text: string) => string;

  /** @throws MetricError for an unknown normaliser. */
  constructor(unit: keyof typeof units, { normalizer = 'none' }: ErrorRateOptions = {}) {
    if (!Object.hasOwn(normalizers, normalizer)) {
      const known = Object.keys(normalizers).join(', ');
      throw new MetricError(`unknown normalizer '${String(normalizer)}': use one of ${known}`);
    }
    this.name = units[unit].name;
    this.cut = units[unit].cut;
    this.normalize = normalizers[normalizer];
    this.settings = `unit:${unit}|norm:${normalizer}`;
  }

  /** @throws MetricError where there are several references. */
  statistics(hypothesis: string, references: readonly string[]): Float64Array {
    if (references.length > 1) {
      throw new MetricError(
        `${this.name} is defined for one reference a segment, here are ${references.length}; ` +
          'give one, or use TER',
      );
    }
    const [from, to] = [references[0]!, hypothesis].map((text) => this.cut(this.normalize(text)));
    const { hits, substitutions, deletions, insertions } = editCounts(from!, to!);
    return Float64Array.of(hits, substitutions, deletions, insertions);
  }

  fromStatistics(sum: Float64Array): ErrorRateResult {
    const [hits, substitutions, deletions, insertions] = sum as unknown as number[];
    const counts = {
      hits: hits!,
      substitutions: substitutions!,
      deletions: deletions!,
      insertions: insertions!,
    };
    const edits = counts.substitutions + counts.deletions + counts.insertions;
    const referenceLength = counts.hits + counts.substitutions + counts.deletions;
    // A normaliser may leave nothing of a reference, as of one that is `[noise]`.
    const rate = referenceLength > 0 ? edits / referenceLength : edits > 0 ? 1 : 0;
    return { name: this.name, score: 100 * rate, ...counts, referenceLength };
  }
}

/**
 * Word error rate of transcripts, lower is better.
 * @throws MetricError as `checkSegments`, or for an unknown normaliser.
 */
export function wer(
  hypotheses: readonly string[],
  references: readonly string[],
  options: ErrorRateOptions = {},
): Signed<ErrorRateResult> {
  return corpusScore(new ErrorRate('word', options), hypotheses, references);
}

/**
 * Character error rate of transcripts, for languages without spaces; lower is better.
 * @throws MetricError as `checkSegments`, or for an unknown normaliser.
 */
export function cer(
  hypotheses: readonly string[],
  references: readonly string[],
  options: ErrorRateOptions = {},
): Signed<ErrorRateResult> {
  return corpusScore(new ErrorRate('character', options), hypotheses, references);
}
