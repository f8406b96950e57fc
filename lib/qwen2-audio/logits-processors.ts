/** What changes the scores of the next token before one is chosen: transformers' logits processors. */
import { cat, full, functional as F, Tensor, tensor, where, zeros } from '../torch';
import type { GenerationConfig } from './generation-config';

/**
 * New scores [rows, vocab], float32; the given ones stay as they are.
 * @param sequences token ids of each row: its prompt without padding, and what came since
 */
export type LogitsProcessor = (sequences: readonly (readonly number[])[], scores: Tensor) => Tensor;

/** Those that the options ask for, in transformers' order. */
export function logitsProcessors(config: Required<GenerationConfig>): LogitsProcessor[] {
  const { repetitionPenalty, noRepeatNgramSize, doSample, temperature, topK, topP } = config;
  const processors: LogitsProcessor[] = [];
  if (repetitionPenalty !== 1) processors.push(penaliseRepetition(repetitionPenalty));
  if (noRepeatNgramSize > 0) processors.push(forbidRepeatedNgrams(noRepeatNgramSize));
  if (!doSample) return processors;
  if (temperature !== 1) processors.push((_, scores) => scores.div(temperature));
  if (topK > 0) processors.push((_, scores) => keepTopK(scores, topK));
  if (topP < 1) processors.push((_, scores) => keepTopP(scores, topP));
  return processors;
}

/** `RepetitionPenaltyLogitsProcessor`: positive scores are divided, negative ones multiplied. */
function penaliseRepetition(penalty: number): LogitsProcessor {
  return (sequences, scores) => {
    const seen = sequences.map((ids) => [...new Set(ids)]);
    const width = Math.max(...seen.map((ids) => ids.length));
    // Shorter rows are filled with an id of theirs: it is written twice, with the same value.
    const filled = seen.flatMap((ids) => [
      ...ids,
      ...new Array<number>(width - ids.length).fill(ids[0]!),
    ]);
    const { device } = scores;
    const index = tensor(filled, { shape: [seen.length, width], dtype: 'int64', device });
    const before = scores.gather(1, index);
    const after = where(before.lt(0), before.mul(penalty), before.div(penalty));
    return scores.scatter(1, index, after);
  };
}

/** `NoRepeatNGramLogitsProcessor`. */
function forbidRepeatedNgrams(size: number): LogitsProcessor {
  return (sequences, scores) => {
    const vocab = scores.size(1);
    const forbidden = sequences.flatMap((ids, row) =>
      Array.from(continuations(ids, size), (id) => row * vocab + id),
    );
    if (forbidden.length === 0) return scores;
    const { device } = scores;
    const index = tensor(forbidden, { dtype: 'int64', device });
    const never = full([forbidden.length], -Infinity, { device });
    return scores.flatten().indexCopy(0, index, never).reshape(scores.shape);
  };
}

/** The tokens that came after an earlier occurrence of the last `size - 1` tokens. */
function continuations(ids: readonly number[], size: number): Set<number> {
  const found = new Set<number>();
  const last = ids.length - size + 1;
  for (let start = 0; start < last; start++) {
    let same = 0;
    while (same < size - 1 && ids[start + same] === ids[last + same]) same++;
    if (same === size - 1) found.add(ids[start + same]!);
  }
  return found;
}

/** `TopKLogitsWarper`: what is as likely as the last of the k stays, too. */
function keepTopK(scores: Tensor, topK: number): Tensor {
  const k = Math.min(topK, scores.size(1));
  const least = scores.topk(k).values.narrow(1, k - 1, 1);
  return scores.maskedFill(scores.lt(least), -Infinity);
}

/** `TopPLogitsWarper`: at least the most likely token stays. */
function keepTopP(scores: Tensor, topP: number): Tensor {
  const { values, indices } = scores.sort(-1);
  const unlikely = F.softmax(values)
    .cumsum(-1)
    .le(1 - topP);
  const [rows, vocab] = scores.shape as [number, number];
  const never = zeros([rows, 1], { dtype: 'bool', device: scores.device });
  const removed = cat([unlikely.narrow(1, 0, vocab - 1), never], 1);
  return scores.maskedFill(removed.scatter(1, indices, removed), -Infinity);
}
