/** Replaces linear layers by 4-bit ones, as `bitsandbytes` does when transformers loads in 4 bits. */
import { Linear4bit, type BlockSize } from '../nf4';
import type { Qwen2Audio } from '../qwen2-audio';
import { nn, type DType } from '../torch';
import { CompressionError } from './error';

export interface QuantizeModelOptions {
  blockSize?: BlockSize;
  doubleQuant?: boolean;
  /** Names (public, without `.weight`) that stay as they are; `lm_head` always does. */
  skip?: readonly string[];
  computeDtype?: Extract<DType, 'float32' | 'bfloat16' | 'float16'>;
}

/** Whether a name is meant by an entry of `skip`: it, or what it ends in. */
function isSkipped(name: string, entry: string): boolean {
  return name === entry || name.endsWith(`.${entry}`);
}

/** @throws CompressionError for an entry of `skip` that names no linear layer of the model. */
export function checkSkipped(model: Qwen2Audio, skip: readonly string[]): void {
  const linear: string[] = [];
  for (const [name, module] of model.namedModules()) {
    if (module instanceof nn.Linear || module instanceof Linear4bit) linear.push(name);
  }
  const unknown = skip.find((entry) => !linear.some((name) => isSkipped(name, entry)));
  if (unknown === undefined) return;
  throw new CompressionError(
    `quantize: skip names ${JSON.stringify(unknown)}, which is no linear layer; ` +
      `names are such as ${linear[0]} or o_proj`,
  );
}

/**
 * Quantises every linear layer of decoder, audio tower and projector to NF4, in place and one by
 * one, so that no second copy of the model is in memory. lm_head, embeddings, convolutions and
 * norms stay.
 * @returns how many layers were replaced
 * @throws CompressionError for an entry of `skip` that names no linear layer
 */
export function quantizeModel(model: Qwen2Audio, options: QuantizeModelOptions = {}): number {
  const { skip = [], ...quantization } = options;
  checkSkipped(model, skip);
  let count = 0;
  nn.replaceModules(model, (name, module) => {
    const left = name.endsWith('lm_head') || skip.some((entry) => isSkipped(name, entry));
    if (left || !(module instanceof nn.Linear)) return undefined;
    const packed = Linear4bit.fromLinear(module, quantization);
    module.dispose();
    count++;
    return packed;
  });
  return count;
}
