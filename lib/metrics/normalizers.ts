import { englishNormalizer } from './english-normalizer';
import { collapseSpaces, removeBracketed, removeSymbolsAndDiacritics } from './plain-text';

/** Makes texts comparable that say the same and are written differently. */
export type Normalizer = (text: string) => string;

/** The normalisers of error rates. */
export type NormalizerName = 'none' | 'basic' | 'english';

/** How {@link basicNormalizer} treats a text. All are false by default. */
export interface BasicNormalizerOptions {
  /** Drop accents, and write letters such as ø and ß in ASCII. */
  readonly removeDiacritics?: boolean;
  /** Set every character apart, for languages without spaces. */
  readonly splitLetters?: boolean;
}

/** Whisper's `BasicTextNormalizer`: lower case, without brackets, symbols and punctuation. */
export function basicNormalizer({
  removeDiacritics = false,
  splitLetters = false,
}: BasicNormalizerOptions = {}): Normalizer {
  return (text) => {
    const plain = removeBracketed(text.toLowerCase());
    const clean = removeDiacritics
      ? removeSymbolsAndDiacritics(plain)
      : plain.normalize('NFKC').replace(/[\p{M}\p{S}\p{P}]/gu, ' ');
    const lower = clean.toLowerCase();
    return collapseSpaces(splitLetters ? graphemes(lower).join(' ') : lower);
  };
}

function graphemes(text: string): string[] {
  const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** By name; `basic` with its default options. */
export const normalizers: Readonly<Record<NormalizerName, Normalizer>> = {
  none: (text) => text,
  basic: basicNormalizer(),
  english: englishNormalizer,
};
