import { BpeTrainingError, trainByteLevelBpe, type BpeVocabulary } from './train-bpe';

const letters = [...'abcdefghijklmnopqrstuvwxyz'];
/** How byte-level BPE writes a space. */
const space = 'Ġ';
/** Tokens that are learnt from the texts, at most. */
const learnt = 2000;

/**
 * A byte-level BPE vocabulary of any size without a corpus of that size: it knows the words of the
 * texts, then makes tokens of ever more letters, with and without a space in front. English text has
 * about three letters a token.
 * @param size without the special tokens
 * @throws BpeTrainingError for a size that does not hold the 256 bytes
 */
export function syntheticVocabulary(
  texts: readonly string[],
  size: number,
  specialTokens: readonly string[],
): BpeVocabulary {
  // Twice, so that every word is frequent enough to be learnt.
  const trained = trainByteLevelBpe([...texts, ...texts], {
    vocabSize: Math.min(size, learnt),
    specialTokens: [],
  });
  const { tokens, merges } = trained;
  const known = new Set(tokens);
  let level = ['', space];
  while (tokens.length < size) {
    const next: string[] = [];
    for (const left of level) {
      for (const letter of letters) {
        const token = left + letter;
        next.push(token);
        if (left === '' || known.has(token) || tokens.length === size) continue;
        tokens.push(token);
        known.add(token);
        merges.push([left, letter]);
      }
    }
    level = next.filter((token) => known.has(token));
    if (level.length === 0) throw new BpeTrainingError(`no vocabulary has ${size} tokens`);
  }
  return { tokens, merges, specialTokens: [...specialTokens] };
}
