import { PareError } from '../errors';
import { byteToCharacter } from './byte-level';
import { MergeQueue } from './merge-queue';

/** The texts or options do not make a vocabulary. */
export class BpeTrainingError extends PareError {}

/** A byte-level BPE vocabulary in Qwen2's form. */
export interface BpeVocabulary {
  /** Tokens by id: the 256 bytes, then one a merge. Special tokens come after them. */
  tokens: string[];
  /** Pairs in the order they were merged. */
  merges: [string, string][];
  /** Added tokens; their ids go on from `tokens.length`. */
  specialTokens: string[];
}

/** Options of {@link trainByteLevelBpe}. */
export interface BpeOptions {
  /** Size wanted, special tokens included; fewer come out if the texts have no more pairs. */
  vocabSize: number;
  specialTokens?: readonly string[];
  /** A pair that occurs less often is not merged. */
  minFrequency?: number;
}

/** The special tokens that Qwen2-Audio's prompt needs. */
export const qwen2AudioSpecialTokens: readonly string[] = [
  '<|endoftext|>',
  '<|im_start|>',
  '<|im_end|>',
  '<|AUDIO|>',
  '<|audio_bos|>',
  '<|audio_eos|>',
];

/** How Qwen2 cuts text into words before BPE: transformers' `PRETOKENIZE_REGEX`. */
export const qwen2Pattern =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** The same for JavaScript, which knows no (?i:) in Node 20; ſ is what Unicode folds to s. */
const words = new RegExp(
  qwen2Pattern.replace(/\(\?i:.*?\)/, "'[sStTmMdDſ]|'[rR][eE]|'[vV][eE]|'[lL][lL]"),
  'gu',
);

interface Word {
  ids: number[];
  count: number;
}

/**
 * Trains byte-level BPE as `BpeTrainer` of Hugging Face's tokenizers does: in each step the most
 * frequent pair is merged, of equal ones that with the smallest ids. The texts are normalised to
 * NFC and cut into words as Qwen2 does; the result depends on nothing else.
 *
 * @throws BpeTrainingError if `vocabSize` does not hold the 256 bytes and the special tokens
 */
export function trainByteLevelBpe(texts: Iterable<string>, options: BpeOptions): BpeVocabulary {
  const { vocabSize, specialTokens = qwen2AudioSpecialTokens, minFrequency = 2 } = options;
  const smallest = 256 + specialTokens.length;
  if (!Number.isInteger(vocabSize) || vocabSize < smallest) {
    throw new BpeTrainingError(
      `a vocabulary of ${vocabSize} is too small; 256 bytes and ${specialTokens.length} special tokens need ${smallest}`,
    );
  }
  const tokens = [...byteToCharacter].sort();
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const corpus = countWords(texts, idOf);
  const queue = new MergeQueue();
  corpus.forEach(({ ids, count }, word) => {
    for (let i = 0; i + 1 < ids.length; i++) queue.add(ids[i]!, ids[i + 1]!, count, word);
  });
  const merges: [string, string][] = [];
  while (tokens.length + specialTokens.length < vocabSize) {
    const best = queue.pop(minFrequency);
    if (!best) break;
    const [left, right] = [tokens[best.left]!, tokens[best.right]!];
    merges.push([left, right]);
    // Two paths of merges can spell the same token; it keeps its id.
    let id = idOf.get(left + right);
    if (id === undefined) {
      id = tokens.push(left + right) - 1;
      idOf.set(left + right, id);
    }
    for (const word of best.words) merge(corpus[word]!, word, best.left, best.right, id, queue);
  }
  return { tokens, merges, specialTokens: [...specialTokens] };
}

function countWords(texts: Iterable<string>, idOf: Map<string, number>): Word[] {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const word of text.normalize('NFC').match(words) ?? []) {
      counts.set(word, (counts.get(word) ?? 0) + 1);
    }
  }
  return [...counts].map(([word, count]) => ({
    ids: [...Buffer.from(word)].map((byte) => idOf.get(byteToCharacter[byte]!)!),
    count,
  }));
}

/** Replaces a pair in a word by its merged token and tells the queue of the pairs that changed. */
function merge(
  word: Word,
  index: number,
  left: number,
  right: number,
  id: number,
  queue: MergeQueue,
): void {
  const { ids, count } = word;
  const merged: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] !== left || ids[i + 1] !== right) {
      merged.push(ids[i]!);
      continue;
    }
    merged.push(id);
    i++;
  }
  if (merged.length === ids.length) return;
  for (let i = 0; i + 1 < ids.length; i++) queue.add(ids[i]!, ids[i + 1]!, -count, index);
  for (let i = 0; i + 1 < merged.length; i++) queue.add(merged[i]!, merged[i + 1]!, count, index);
  word.ids = merged;
}
