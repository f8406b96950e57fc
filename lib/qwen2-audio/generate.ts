/** Greedy generation with a key-value cache, one row or a left-padded batch. */
import { setImmediate } from 'node:timers/promises';
import { noGrad, scope, Tensor, tensor } from '../torch';
import type { Batch } from './batch';
import { KeyValueCache } from './cache';
import type { Qwen2Audio } from './model';

export interface GenerateOptions {
  /** New tokens at most; the audio's tokens do not count. */
  maxNewTokens: number;
  /** Audio features of this batch, if they are known already (`encodeAudio`). */
  audioFeatures?: Tensor;
  signal?: AbortSignal;
}

/** Audio features [sum of audio tokens, hidden] of a batch, without gradients. */
export function encodeAudio(model: Qwen2Audio, batch: Batch): Tensor {
  return scope(() => noGrad(() => model.project(model.encode(batch), batch)));
}

/**
 * The most likely token at each step until an end-of-sequence id or `maxNewTokens`. Yields to the
 * event loop between steps.
 * @param batch examples without labels, padded on the left
 * @returns new token ids of each row, its end-of-sequence id included
 */
export async function generate(
  model: Qwen2Audio,
  batch: Batch,
  options: GenerateOptions,
): Promise<number[][]> {
  const { maxNewTokens, signal } = options;
  const { eosTokenIds } = model.config;
  const rows: number[][] = batch.lengths.map(() => []);
  if (maxNewTokens <= 0) return rows;
  const promptLength = batch.inputIds.size(1);
  const cache = new KeyValueCache(promptLength + maxNewTokens);
  const finished = rows.map(() => false);
  try {
    let next = scope(() => noGrad(() => prefill(model, batch, cache, options.audioFeatures)));
    for (let step = 0; ; step++) {
      for (const [row, id] of next.entries()) {
        if (finished[row]) continue;
        rows[row]!.push(id);
        finished[row] = eosTokenIds.includes(id);
      }
      if (step + 1 === maxNewTokens || finished.every(Boolean)) return rows;
      await setImmediate();
      signal?.throwIfAborted();
      next = scope(() => noGrad(() => decodeStep(model, batch, cache, next, step)));
    }
  } finally {
    cache.dispose();
  }
}

function prefill(
  model: Qwen2Audio,
  batch: Batch,
  cache: KeyValueCache,
  known: Tensor | undefined,
): number[] {
  const audioFeatures = known ?? model.project(model.encode(batch), batch);
  const hidden = model.decode(model.embed(batch, audioFeatures), {
    rotary: model.rotary(batch.positionIds),
    mask: batch.mask(model.dtype),
    cache,
  });
  return mostLikely(model, hidden.select(1, hidden.size(1) - 1));
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
