/** Texts of pieces of speech that follow each other, as one text. */

import { unspaced } from './unspaced';

/** In a script without spaces a character is a word. */
const word = new RegExp(`[${unspaced}]|[^\\s${unspaced}]+`, 'gu');
const endsUnspaced = new RegExp(`[${unspaced}][\\p{P}]*$`, 'u');
const startsUnspaced = new RegExp(`^[${unspaced}]`, 'u');

/** Words that one breath of overlap can hold at most. */
const mostWords = 12;

interface Word {
  /** In lower case, without punctuation. */
  key: string;
  from: number;
  to: number;
}

/**
 * Takes away what was said once and heard twice, where two pieces of audio overlap: the longest run
 * of words that ends `before` and begins `after`, punctuation and case apart, is left in `before`
 * alone. Where it has two words or more, one further word at the seam on either side may be a
 * word that the cut has maimed, and goes too. Texts that put the overlap in different words have no
 * such run and stay as they are: a doubled word is seen, one that is missing is not.
 */
export function dropRepeated(before: string, after: string): { before: string; after: string } {
  const first = wordsOf(before).slice(-mostWords - 1);
  const second = wordsOf(after).slice(0, mostWords + 1);
  for (let count = Math.min(mostWords, first.length, second.length); count > 0; count--) {
    const stray = count > 1 ? [0, 1] : [0];
    for (const last of stray) {
      for (const skipped of stray) {
        const a = first.slice(first.length - last - count, first.length - last);
        const b = second.slice(skipped, skipped + count);
        if (a.length < count || b.length < count) continue;
        if (!a.every(({ key }, i) => key === b[i]!.key)) continue;
        const end = last === 0 ? before.length : a.at(-1)!.to;
        return { before: before.slice(0, end), after: after.slice(b.at(-1)!.to).trimStart() };
      }
    }
  }
  return { before, after };
}

function wordsOf(text: string): Word[] {
  return [...text.matchAll(word)]
    .map(({ 0: found, index }) => ({
      key: found.toLowerCase().replace(/[\p{P}\p{S}]/gu, ''),
      from: index,
      to: index + found.length,
    }))
    .filter(({ key }) => key !== '');
}

/** One text of several, with a space between unless the script has none. Empty ones are left out. */
export function joinTexts(texts: readonly string[]): string {
  return texts
    .filter((text) => text !== '')
    .reduce((whole, text) => {
      const isJoined = startsUnspaced.test(text) && endsUnspaced.test(whole);
      return whole === '' || isJoined ? whole + text : `${whole} ${text}`;
    }, '');
}
