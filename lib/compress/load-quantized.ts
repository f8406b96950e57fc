/** A checkpoint that is quantised while it is loaded, with the options of `quantizeModel`. */
import { readConfig, skeleton, type Qwen2Audio } from '../qwen2-audio';
import { loadNf4, type LoadNf4Options } from '../qwen2-audio/load-nf4';
import { modulesToQuantize, type QuantizeModelOptions } from './quantize';

/** Which modules are packed, and how the checkpoint is read. */
export type LoadQuantizedOptions = Omit<QuantizeModelOptions, 'computeDtype'> &
  Omit<LoadNf4Options, 'modules'>;

/**
 * `loadModel` and `quantizeModel` in one, in memory for the result and little else; see `loadNf4`.
 * @throws as both, and the reason of `signal`
 */
export async function loadQuantized(
  dir: string,
  options: LoadQuantizedOptions = {},
): Promise<Qwen2Audio> {
  const { audio, text } = readConfig(dir);
  using model = skeleton(audio.encoderLayers, text.numHiddenLayers);
  const modules = new Set(modulesToQuantize(model, options, text.hiddenSize).keys());
  return await loadNf4(dir, { ...options, modules });
}
