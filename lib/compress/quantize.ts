/** Replaces linear layers by 4-bit ones, as `bitsandbytes` does when transformers loads in 4 bits. */
import { Embedding4bit, Linear4bit, type QuantizeOptions } from '../nf4';
import type { Qwen2Audio } from '../qwen2-audio';
import { nn, type DType } from '../torch';
import { CompressionError } from './error';

/** What of a model becomes 4 bits, beside or instead of every linear layer but lm_head. */
export interface QuantizeModelOptions extends QuantizeOptions {
  /** Names (public, without `.weight`) of linear layers that stay as they are. */
  skip?: readonly string[];
  /** Also lm_head. */
  lmHead?: boolean;
  /** Also the token embeddings; transformers does not load such a checkpoint. */
  embeddings?: boolean;
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

/** @throws CompressionError if rows of embeddings cannot be gathered from blocks of this size. */
export function checkEmbeddings(hiddenSize: number, blockSize: number): void {
  if (hiddenSize % blockSize === 0) return;
  throw new CompressionError(
    `quantize: embeddings of ${hiddenSize} values do not divide into blocks of ${blockSize}; ` +
      'give a smaller blockSize, or embeddings: false',
  );
}

/**
 * The modules that are to be 4-bit ones, by name: every linear layer of decoder, audio tower and
 * projector, and what the options add.
 * @param hiddenSize of the model whose modules these are, which may be a skeleton
 * @throws CompressionError for an entry of `skip` that names no linear layer, and for embeddings
 * narrower than a block
 */
export function modulesToQuantize(
  model: Qwen2Audio,
  options: QuantizeModelOptions,
  hiddenSize: number = model.config.text.hiddenSize,
): Map<string, nn.Linear | nn.Embedding> {
  const { skip = [], lmHead = false, embeddings = false, blockSize = 64 } = options;
  checkSkipped(model, skip);
  if (embeddings) checkEmbeddings(hiddenSize, blockSize);
  const isLeft = (name: string): boolean =>
    (!lmHead && name.endsWith('lm_head')) || skip.some((entry) => isSkipped(name, entry));
  const { embedTokens } = model.languageModel.model;
  const result = new Map<string, nn.Linear | nn.Embedding>();
  for (const [name, module] of model.namedModules()) {
    const isLinear = module instanceof nn.Linear && !isLeft(name);
    const isEmbedding = module instanceof nn.Embedding && module === embedTokens;
    if (isLinear || (isEmbedding && embeddings)) result.set(name, module);
  }
  return result;
}

/**
 * Quantises every linear layer of decoder, audio tower and projector to NF4, in place and one by
 * one, so that no second copy of the model is in memory. Convolutions and norms stay; lm_head and
 * embeddings, too, unless they are asked for.
 * @returns how many modules were replaced
 * @throws CompressionError for an entry of `skip` that names no linear layer, and for embeddings
 * narrower than a block
 */
export function quantizeModel(model: Qwen2Audio, options: QuantizeModelOptions = {}): number {
  const modules = modulesToQuantize(model, options);
  const { blockSize, doubleQuant, computeDtype } = options;
  const quantization = { blockSize, doubleQuant };
  nn.replaceModules(model, (name) => {
    const module = modules.get(name);
    if (module === undefined) return undefined;
    const packed =
      module instanceof nn.Linear
        ? Linear4bit.fromLinear(module, { ...quantization, computeDtype })
        : Embedding4bit.fromEmbedding(module, quantization);
    module.dispose();
    return packed;
  });
  return modules.size;
}
