/** Replaces linear layers by 4-bit ones, as `bitsandbytes` does when transformers loads in 4 bits. */
import { Linear4bit, type BlockSize } from '../nf4';
import type { Qwen2Audio } from '../qwen2-audio';
import { nn, type DType } from '../torch';

export interface QuantizeModelOptions {
  blockSize?: BlockSize;
  doubleQuant?: boolean;
  /** Names (public, without `.weight`) that stay as they are; `lm_head` always does. */
  skip?: readonly string[];
  computeDtype?: Extract<DType, 'float32' | 'bfloat16' | 'float16'>;
}

/**
 * Quantises every linear layer of decoder, audio tower and projector to NF4, in place and one by
 * one, so that no second copy of the model is in memory. lm_head, embeddings, convolutions and
 * norms stay.
 * @returns how many layers were replaced
 */
export function quantizeModel(model: Qwen2Audio, options: QuantizeModelOptions = {}): number {
  const { skip = [], ...quantization } = options;
  let count = 0;
  nn.replaceModules(model, (name, module) => {
    const left = name.endsWith('lm_head') || skip.some((s) => name === s || name.endsWith(`.${s}`));
    if (left || !(module instanceof nn.Linear)) return undefined;
    const packed = Linear4bit.fromLinear(module, quantization);
    module.dispose();
    count++;
    return packed;
  });
  return count;
}
