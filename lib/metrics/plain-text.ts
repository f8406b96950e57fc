/** What Whisper's two normalisers do to a text in common. */
import { space } from './whitespace';

const spaces = new RegExp(`[${space}]+`, 'gu');

/** Letters that NFKD does not take apart. */
const letters: Readonly<Record<string, string>> = {
  œ: 'oe',
  Œ: 'OE',
  ø: 'o',
  Ø: 'O',
  æ: 'ae',
  Æ: 'AE',
  ß: 'ss',
  ẞ: 'SS',
  đ: 'd',
  Đ: 'D',
  ð: 'd',
  Ð: 'D',
  þ: 'th',
  Þ: 'th',
  ł: 'l',
  Ł: 'L',
};

/** Drops what stands in square, angle or round brackets: `[noise]`, `(laughs)`. */
export function removeBracketed(text: string): string {
  return text.replace(/[<[][^>\]]*[>\]]/gu, '').replace(/\([^)]+?\)/gu, '');
}

/** Makes spaces of marks, symbols and punctuation other than `keep`; drops diacritics. */
export function removeSymbolsAndDiacritics(text: string, keep: string = ''): string {
  return text.normalize('NFKD').replace(/[\p{M}\p{S}\p{P}œŒøØæÆßẞđĐðÐþÞłŁ]/gu, (character) => {
    if (keep.includes(character)) return character;
    return letters[character] ?? (/\p{Mn}/u.test(character) ? '' : ' ');
  });
}

/** One space for each run of them. */
export function collapseSpaces(text: string): string {
  return text.replace(spaces, ' ');
}
