/** Generation with a key-value cache, one row or a left-padded batch. */
import { noGrad, scope, Tensor, tensor } from '../torch';
import type { Batch } from './batch';
import { beamSearch } from './beam-search';
import { KeyValueCache } from './cache';
import {
  GenerationError,
  resolveGeneration,
  type GeneratedSequence,
  type GenerateOptions,
} from './generation-config';
import type { Qwen2Audio } from './model';
import { prefill } from './prefill';
import { sample } from './sampling';
import { tokenSteps } from './token-steps';

/**
 * The best sequence of each row, until an end-of-sequence id or `maxNewTokens`: greedy unless
 * options ask for something else. Yields to the event loop between steps.
 * @param batch examples without labels, padded on the left
 * @returns new token ids of each row, its end-of-sequence id included
 * @throws GenerationError
 */
export async function generate(
  model: Qwen2Audio,
  batch: Batch,
  options: GenerateOptions,
): Promise<number[][]> {
  const rows = await generateSequences(model, batch, options);
  return rows.map(([best]) => best?.ids ?? []);
}

/** As {@link generate}; gives `numReturnSequences` for each row, of beam search the best first. */
export async function generateSequences(
  model: Qwen2Audio,
  batch: Batch,
  options: GenerateOptions,
): Promise<GeneratedSequence[][]> {
  const config = resolveGeneration(options, model.config.samplingDefaults);
  const { numBeams, numReturnSequences: width } = config;
  options.signal?.throwIfAborted();
  const rows = batch.lengths.map(() =>
    Array.from({ length: width }, (): GeneratedSequence => ({ ids: [] })),
  );
  if (options.maxNewTokens <= 0) return rows;
  if (numBeams > 1) return beamSearch(model, batch, config, options);
  for await (const ids of generateSteps(model, batch, options)) {
    for (const [i, id] of ids.entries()) {
      if (id !== undefined) rows[Math.floor(i / width)]![i % width]!.ids.push(id);
    }
  }
  return rows;
}

/**
 * As {@link generate}, a step at a time: an id of each sequence, `numReturnSequences` to a row,
 * undefined for one that has ended. What it holds is freed at the end and when it is left early.
 * @throws GenerationError for beams, which know their text only at the end
 */
export async function* generateSteps(
  model: Qwen2Audio,
  batch: Batch,
  options: GenerateOptions,
): AsyncGenerator<(number | undefined)[], void> {
  const config = resolveGeneration(options, model.config.samplingDefaults);
  if (config.numBeams > 1) {
    throw new GenerationError(
      'beams know their text only at the end, which leaves nothing to stream; leave numBeams out',
    );
  }
  options.signal?.throwIfAborted();
  if (options.maxNewTokens <= 0) return;
  const { doSample, repetitionPenalty, noRepeatNgramSize } = config;
  const plain = !doSample && repetitionPenalty === 1 && noRepeatNgramSize === 0;
  yield* plain ? greedy(model, batch, options) : sample(model, batch, config, options);
}

/** The most likely token at each step. */
async function* greedy(
  model: Qwen2Audio,
  batch: Batch,
  options: GenerateOptions,
): AsyncGenerator<(number | undefined)[], void> {
  const { maxNewTokens, signal } = options;
  const cache = new KeyValueCache(batch.inputIds.size(1) + maxNewTokens);
  try {
    yield* tokenSteps({
      maxNewTokens,
      eosTokenIds: model.config.eosTokenIds,
      signal,
      first: () =>
        scope(() => noGrad(() => mostLikely(model, prefill(model, batch, cache, options)))),
      next: (last, step) =>
        scope(() => noGrad(() => decodeStep(model, batch, cache, last, step - 1))),
    });
  } finally {
    cache.dispose();
  }
}

function decodeStep(
  model: Qwen2Audio,
  batch: Batch,
  cache: KeyValueCache,
  last: readonly number[],
  step: number,
): number[] {
  const ids = tensor([...last], {
    shape: [last.length, 1],
    dtype: 'int64',
    device: model.device,
  });
  const hidden = model.decode(model.languageModel.model.embedTokens.forward(ids), {
    rotary: model.rotary(batch.lengths.map((length) => [length + step])),
    mask: batch.stepMask(cache.length + 1, model.dtype),
    cache,
  });
  return mostLikely(model, hidden.select(1, 0));
}

function mostLikely(model: Qwen2Audio, hidden: Tensor): number[] {
  return model.languageModel.lmHead.forward(hidden).to('float32').argmax(-1).toArray();
}
