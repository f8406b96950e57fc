/** The first pass of generation: audio and prompt, up to the state that the first token follows from. */
import { noGrad, scope, type Tensor } from '../torch';
import type { Batch } from './batch';
import type { KeyValueCache } from './cache';
import type { Qwen2Audio } from './model';
import { promptInput, type KnownPrompt } from './prompt-state';

/** Audio features [sum of audio tokens, hidden] of a batch, without gradients. */
export function encodeAudio(model: Qwen2Audio, batch: Batch): Tensor {
  return scope(() => noGrad(() => model.project(model.encode(batch), batch)));
}

/**
 * Hidden states [rows, hidden] of the last positions of a batch padded on the left; the cache has
 * all positions afterwards.
 */
export function prefill(
  model: Qwen2Audio,
  batch: Batch,
  cache: KeyValueCache,
  known: KnownPrompt = {},
): Tensor {
  const { states, depth } = promptInput(model, batch, known);
  if (known.promptState !== undefined) known.promptState.copyKeyValues(cache);
  const hidden = model.decode(states, { ...model.contextOf(batch), cache }, depth);
  return hidden.select(1, hidden.size(1) - 1);
}
