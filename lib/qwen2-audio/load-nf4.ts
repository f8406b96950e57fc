/** A full-precision checkpoint into a 4-bit model, without its weights in memory. */
import { setImmediate } from 'node:timers/promises';
import { emptyPacked, PiecewiseQuantizer, quantStateKey, type QuantizeOptions } from '../nf4';
import { keep, nn, type Tensor } from '../torch';
import { readConfig } from './folder';
import { checkDevice, modelOf, readStateDict, type LoadOptions } from './load';
import { skeleton, type Qwen2Audio } from './model';
import { ReadAhead } from './read-ahead';
import { checkpointTensors, type CheckpointTensor } from './weight-file';
import type { StreamOptions } from './write-checkpoint';

/** Which modules are packed while they are read, and how. */
export interface LoadNf4Options extends LoadOptions, QuantizeOptions {
  /** Names of the modules to pack; every linear layer but lm_head by default. */
  modules?: ReadonlySet<string>;
  signal?: AbortSignal;
  /** Hears of bytes that are quantised. */
  onProgress?: StreamOptions['onProgress'];
}

/**
 * `loadModel` of a model that is packed on the way, from the dtype that it is stored in: weights are
 * read ahead in pieces, quantised and let go, so that in memory there is the result and little else.
 * What stays as it is, is mapped; what the checkpoint itself has packed stays, and nothing is packed
 * beside it. Yields to the event loop between pieces.
 * @throws as `loadModel`, QuantStateError, and the reason of `signal`
 */
export async function loadNf4(dir: string, options: LoadNf4Options = {}): Promise<Qwen2Audio> {
  checkDevice(options);
  const config = readConfig(dir);
  const state = readStateDict(dir);
  try {
    if (![...state.keys()].some((name) => name.endsWith(`.${quantStateKey}`))) {
      const { audio, text } = config;
      const modules = options.modules ?? usualModules(audio.encoderLayers, text.numHiddenLayers);
      const weights = [...checkpointTensors(dir).values()].filter(
        ({ name }) => name.endsWith('.weight') && modules.has(name.slice(0, -'.weight'.length)),
      );
      await quantizeState(state, weights, options);
    }
  } catch (error) {
    for (const tensor of state.values()) tensor.dispose();
    throw error;
  }
  return modelOf(dir, config, state, options);
}

/** What transformers packs with `load_in_4bit`. */
function usualModules(encoderLayers: number, numHiddenLayers: number): Set<string> {
  using model = skeleton(encoderLayers, numHiddenLayers);
  const names = Array.from(model.namedModules(), ([name, module]) =>
    module instanceof nn.Linear && !name.endsWith('lm_head') ? name : '',
  );
  return new Set(names);
}

async function quantizeState(
  state: Map<string, Tensor>,
  weights: readonly CheckpointTensor[],
  options: LoadNf4Options,
): Promise<void> {
  const reader = new ReadAhead(weights.map(({ range }) => range));
  const total = weights.reduce((sum, { range }) => sum + range.bytes, 0);
  let done = 0;
  try {
    for (const { name, dtype, shape, range } of weights) {
      using quantizer = new PiecewiseQuantizer(dtype, shape, options);
      const packed = keep(emptyPacked(shape));
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
      for (const [key, value] of quantState.namedTensors()) {
        state.set(`${name}.${key}`, keep(value));
      }
      state.set(`${name}.${quantStateKey}`, keep(quantState.packedJson()));
    }
  } finally {
    await reader.close();
  }
}
