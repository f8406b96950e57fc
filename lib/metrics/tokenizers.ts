import { splitWords, strip } from './whitespace';

/** Cuts a segment into the words that BLEU counts. */
export type Tokenizer = (segment: string) => string[];

/** The tokenizers of BLEU, by sacreBLEU's names. */
export type TokenizerName = '13a' | 'zh' | 'intl' | 'char' | 'none';

/** Sets ASCII symbols other than ' , - . apart, as NIST's mteval-v13a.pl. */
export function separateSymbols(line: string): string {
  return line.replace(/([{-~[-` -&(-+:-@/])/gu, ' $1 ');
}

/** Sets full stops and commas apart unless between digits, and hyphens after digits. */
export function separateStops(line: string): string {
  return line
    .replace(/([^0-9])([.,])/gu, '$1 $2 ')
    .replace(/([.,])([^0-9])/gu, ' $1 $2')
    .replace(/([0-9])(-)/gu, '$1 $2 ');
}

/** Four of XML's entities as the characters they stand for. */
export function unescapeXml(line: string): string {
  return line
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>');
}

/** sacreBLEU's `TokenizerRegexp`: the rules of NIST's mteval-v13a.pl for Western languages. */
function tokenizeWestern(line: string): string[] {
  return splitWords(separateStops(separateSymbols(line)));
}

/** sacreBLEU's `Tokenizer13a`. */
function tokenize13a(segment: string): string[] {
  const line = segment.replaceAll('<skipped>', '').replaceAll('-\n', '').replaceAll('\n', ' ');
  return tokenizeWestern(` ${unescapeXml(line)} `);
}

/**
 * The characters that sacreBLEU's `TokenizerZh` sets apart. Two of its ranges are meant to be CJK
 * Extension B and the CJK Compatibility Supplement, but are written `'\u20000'` and `'\u2f800'`,
 * which Python reads as U+2000 followed by "0" and so on. What they match in fact are U+2001 to
 * U+2A6D and U+2F81 to U+2FA1, and no character beyond U+FFFF; scores depend on it.
 */
const chinese = new RegExp(
  '([' +
    '\\u3400-\\u4db5\\u4e00-\\u9fa5\\u9fa6-\\u9fbb\\uf900-\\ufa2d\\ufa30-\\ufa6a\\ufa70-\\ufad9' +
    '\\u2001-\\u2a6d\\u2f81-\\u2fa1' +
    '\\uff00-\\uffef\\u2e80-\\u2eff\\u3000-\\u303f\\u31c0-\\u31ef\\u2f00-\\u2fdf\\u2ff0-\\u2fff' +
    '\\u3100-\\u312f\\u31a0-\\u31bf\\ufe10-\\ufe1f\\ufe30-\\ufe4f\\u2600-\\u26ff\\u2700-\\u27bf' +
    '\\u3200-\\u32ff\\u3300-\\u33ff])',
  'gu',
);

/** sacreBLEU's `TokenizerZh`: each Chinese character alone, the rest as Western text. */
function tokenizeZh(segment: string): string[] {
  return tokenizeWestern(strip(segment).replace(chinese, ' $1 '));
}

/**
 * sacreBLEU's `TokenizerV14International`, the rules of mteval-v14.pl: punctuation stands alone
 * unless between digits, symbols always.
 */
function tokenizeInternational(segment: string): string[] {
  return splitWords(
    segment
      .replace(/(\P{N})(\p{P})/gu, '$1 $2 ')
      .replace(/(\p{P})(\P{N})/gu, ' $1 $2')
      .replace(/(\p{S})/gu, ' $1 '),
  );
}

/** sacreBLEU's `TokenizerChar`: each code point alone, whitespace dropped. */
function tokenizeChar(segment: string): string[] {
  return splitWords(Array.from(segment).join(' '));
}

/**
 * sacreBLEU's tokenizers by name; each gives the words of sacreBLEU's tokenized line.
 * Source: `sacrebleu/tokenizers/`.
 */
export const tokenizers: Readonly<Record<TokenizerName, Tokenizer>> = {
  '13a': tokenize13a,
  zh: tokenizeZh,
  intl: tokenizeInternational,
  char: tokenizeChar,
  none: splitWords,
};
