/** One token after the other: drawn by its probability, or the most likely after logits processors. */
import { functional as F, Generator, noGrad, rand, scope, tensor, type Tensor } from '../torch';
import type { Batch } from './batch';
import { Branches } from './branches';
import type { GenerateOptions, GenerationConfig } from './generation-config';
import { logitsProcessors } from './logits-processors';
import type { Qwen2Audio } from './model';
import { tokenSteps } from './token-steps';

/** Made once, since generators live as long as their thread, and seeded for each call. */
let generator: Generator | undefined;

/** Numbers in [0, 1), the same for the same seed and sequence, whatever is drawn beside them. */
function uniforms(seed: number, sequence: number, count: number): number[] {
  generator ??= new Generator(0);
  // The odd multiple keeps the streams of neighbouring seeds apart.
  generator.manualSeed((seed + Math.imul(sequence, 0x9e3779b1)) >>> 0);
  return scope(() => rand([count], { dtype: 'float64', generator }).toArray());
}

/**
 * Draws an id a row.
 * @param scores [rows, vocab]
 * @param at [rows], in [0, 1): where on the line of all probabilities, one after the other
 */
export function draw(scores: Tensor, at: readonly number[]): number[] {
  const { device } = scores;
  const sums = F.softmax(scores).to('float64').cumsum(-1);
  const vocab = sums.size(1);
  const points = tensor([...at], { shape: [at.length, 1], dtype: 'float64', device });
  const total = sums.narrow(1, vocab - 1, 1);
  const ids = sums.le(total.mul(points)).sum(1).toArray();
  return ids.map((id) => Math.min(id, vocab - 1));
}

/**
 * Ids of each step, `numReturnSequences` a row, all of one row together; undefined for a sequence
 * that has ended.
 * @param config with one beam
 */
export async function* sample(
  model: Qwen2Audio,
  batch: Batch,
  config: Required<GenerationConfig>,
  options: GenerateOptions,
): AsyncGenerator<(number | undefined)[], void> {
  const { maxNewTokens, signal } = options;
  const { numReturnSequences: width, doSample, seed } = config;
  const branches = new Branches(model, batch, width, maxNewTokens);
  const processors = logitsProcessors(config);
  const prompts = branches.prompts();
  const sequences = prompts.flatMap((ids) => Array.from({ length: width }, () => [...ids]));
  const streams = Array.from({ length: doSample ? width : 0 }, (_, sequence) =>
    uniforms(seed, sequence, maxNewTokens),
  );

  /** An id a sequence from hidden states [rows or sequences, hidden]. */
  const choose = (hidden: Tensor, step: number): number[] => {
    let scores = model.languageModel.lmHead.forward(hidden).to('float32');
    if (scores.size(0) < sequences.length) scores = scores.repeatInterleave(width, 0);
    for (const process of processors) scores = process(sequences, scores);
    const ids = doSample
      ? draw(
          scores,
          sequences.map((_, i) => streams[i % width]![step]!),
        )
      : scores.argmax(-1).toArray();
    for (const [i, id] of ids.entries()) sequences[i]!.push(id);
    return ids;
  };

  try {
    yield* tokenSteps({
      maxNewTokens,
      eosTokenIds: model.config.eosTokenIds,
      signal,
      first: () => scope(() => noGrad(() => choose(branches.begin(options), 0))),
      next: (last, step) =>
        scope(() =>
          noGrad(() => {
            const tokens = batch.lengths.map((_, row) =>
              last.slice(row * width, (row + 1) * width),
            );
            return choose(branches.extend(tokens).flatten(0, 1), step);
          }),
        ),
    });
  } finally {
    branches.dispose();
  }
}
