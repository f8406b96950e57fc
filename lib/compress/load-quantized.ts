/** A full-precision checkpoint into a 4-bit model, without its weights in memory. */
import { setImmediate } from 'node:timers/promises';
import { isQuantized, PiecewiseQuantizer, quantStateKey } from '../nf4';
import { readConfig, skeleton, type Qwen2Audio } from '../qwen2-audio';
import { modelOf, readStateDict, type LoadOptions } from '../qwen2-audio/load';
import { ReadAhead } from '../qwen2-audio/read-ahead';
import { checkpointTensors, type CheckpointTensor } from '../qwen2-audio/weight-file';
import type { StreamOptions } from '../qwen2-audio/write-checkpoint';
import { empty, keep, type Tensor } from '../torch';
import { modulesToQuantize, packedShape, type QuantizeModelOptions } from './quantize';

/** `onProgress` hears of bytes that are quantised. */
export type LoadQuantizedOptions = Omit<QuantizeModelOptions, 'computeDtype'> &
  LoadOptions &
  Pick<StreamOptions, 'signal' | 'onProgress'>;

/**
 * `loadModel` and `quantizeModel` in one: weights are read ahead in pieces, quantised and let go, so
 * that in memory there is the result and little else. Weights that are in 4 bits already, and those
 * that stay as they are, are mapped. Yields to the event loop between pieces.
 * @throws as both, and the reason of `signal`
 */
export async function loadQuantized(
  dir: string,
  options: LoadQuantizedOptions = {},
): Promise<Qwen2Audio> {
  const config = readConfig(dir);
  const names = namesToQuantize(dir, options);
  const state = readStateDict(dir);
  try {
    const weights = [...checkpointTensors(dir).values()].filter(
      ({ name }) => names.has(name) && !isQuantized(state, name.replace(/\.weight$/, '')),
    );
    await quantizeState(state, weights, options);
  } catch (error) {
    for (const tensor of state.values()) tensor.dispose();
    throw error;
  }
  return modelOf(dir, config, state, { dtype: options.dtype });
}

/** Names of the weights that {@link modulesToQuantize} means in a checkpoint. */
function namesToQuantize(dir: string, options: QuantizeModelOptions): Set<string> {
  const { audio, text } = readConfig(dir);
  using model = skeleton(audio.encoderLayers, text.numHiddenLayers);
  const modules = modulesToQuantize(model, options, text.hiddenSize);
  return new Set(Array.from(modules.keys(), (name) => `${name}.weight`));
}

async function quantizeState(
  state: Map<string, Tensor>,
  weights: readonly CheckpointTensor[],
  options: LoadQuantizedOptions,
): Promise<void> {
  const reader = new ReadAhead(weights.map(({ range }) => range));
  const total = weights.reduce((sum, { range }) => sum + range.bytes, 0);
  let done = 0;
  try {
    for (const { name, dtype, shape, range } of weights) {
      using quantizer = new PiecewiseQuantizer(dtype, shape, options);
      const packed = keep(empty(packedShape(shape), { dtype: 'uint8' }));
      // From here on it is freed with the others.
      state.get(name)!.dispose();
      state.set(name, packed);
      let at = 0;
      for await (const piece of reader.read(range)) {
        at += quantizer.add(piece, packed, at);
        options.onProgress?.((done += piece.byteLength), total);
        await setImmediate();
        options.signal?.throwIfAborted();
      }
      const quantState = quantizer.finish();
      for (const [key, value] of quantState.namedTensors())
        state.set(`${name}.${key}`, keep(value));
      state.set(`${name}.${quantStateKey}`, keep(quantState.packedJson()));
    }
  } finally {
    await reader.close();
  }
}
