import { standardizeNumbers, wordCharacter } from './english-numbers';
import { englishSpellings } from './english-spellings';
import { collapseSpaces, removeBracketed, removeSymbolsAndDiacritics } from './plain-text';
import { space, splitWords } from './whitespace';

/** What is replaced, in this order; `\b` is a word's edge as Python sees it. */
const replacements: readonly (readonly [pattern: string, by: string])[] = [
  ["\\bwon't\\b", 'will not'],
  ["\\bcan't\\b", 'can not'],
  ["\\blet's\\b", 'let us'],
  ["\\bain't\\b", 'aint'],
  ["\\by'all\\b", 'you all'],
  ['\\bwanna\\b', 'want to'],
  ['\\bgotta\\b', 'got to'],
  ['\\bgonna\\b', 'going to'],
  ["\\bi'ma\\b", 'i am going to'],
  ['\\bimma\\b', 'i am going to'],
  ['\\bwoulda\\b', 'would have'],
  ['\\bcoulda\\b', 'could have'],
  ['\\bshoulda\\b', 'should have'],
  ["\\bma'am\\b", 'madam'],
  // titles
  ['\\bmr\\b', 'mister '],
  ['\\bmrs\\b', 'missus '],
  ['\\bst\\b', 'saint '],
  ['\\bdr\\b', 'doctor '],
  ['\\bprof\\b', 'professor '],
  ['\\bcapt\\b', 'captain '],
  ['\\bgov\\b', 'governor '],
  ['\\bald\\b', 'alderman '],
  ['\\bgen\\b', 'general '],
  ['\\bsen\\b', 'senator '],
  ['\\brep\\b', 'representative '],
  ['\\bpres\\b', 'president '],
  ['\\brev\\b', 'reverend '],
  ['\\bhon\\b', 'honorable '],
  ['\\basst\\b', 'assistant '],
  ['\\bassoc\\b', 'associate '],
  ['\\blt\\b', 'lieutenant '],
  ['\\bcol\\b', 'colonel '],
  ['\\bjr\\b', 'junior '],
  ['\\bsr\\b', 'senior '],
  ['\\besq\\b', 'esquire '],
  // perfect tenses
  ["'d been\\b", ' had been'],
  ["'s been\\b", ' has been'],
  ["'d gone\\b", ' had gone'],
  ["'s gone\\b", ' has gone'],
  ["'d done\\b", ' had done'],
  ["'s got\\b", ' has got'],
  // contractions of any word
  ["n't\\b", ' not'],
  ["'re\\b", ' are'],
  ["'s\\b", ' is'],
  ["'d\\b", ' would'],
  ["'ll\\b", ' will'],
  ["'t\\b", ' not'],
  ["'ve\\b", ' have'],
  ["'m\\b", ' am'],
];

/** JavaScript's own `\b` knows ASCII alone. Here one stands always beside a letter of the pattern. */
function pythonPattern(pattern: string): RegExp {
  const source = pattern
    .replace(/^\\b/, `(?<!${wordCharacter})`)
    .replace(/\\b$/, `(?!${wordCharacter})`);
  return new RegExp(source, 'gu');
}

const replacers = replacements.map(([pattern, by]) => [pythonPattern(pattern), by] as const);
const fillers = pythonPattern('\\b(?:hmm|mm|mhm|mmm|uh|um)\\b');
const spacedApostrophe = new RegExp(`[${space}]+'`, 'gu');

/**
 * Whisper's `EnglishTextNormalizer`: lower case, contractions written out, numbers in digits,
 * American spelling, no fillers, brackets, symbols and punctuation.
 */
export function englishNormalizer(text: string): string {
  let line = removeBracketed(text.toLowerCase())
    .replace(fillers, '')
    .replace(spacedApostrophe, "'");
  for (const [pattern, by] of replacers) line = line.replace(pattern, by);
  line = line.replace(/(\p{Nd}),(\p{Nd})/gu, '$1$2').replace(/\.([^0-9]|$)/gu, ' $1');
  line = standardizeNumbers(removeSymbolsAndDiacritics(line, '.%$¢€£'));
  line = splitWords(line)
    .map((word) => englishSpellings.get(word) ?? word)
    .join(' ');
  // Signs that do not belong to a number.
  return collapseSpaces(line.replace(/[.$¢€£]([^0-9])/gu, ' $1').replace(/([^0-9])%/gu, '$1 '));
}
