/** Making an adapter a part of its model's weights, in full precision or in 4 bits. */
import { addToWeight, mergeLora, type LoraAdapter, type LoraUpdate } from '../lora';
import {
  dequantizeNf4,
  Embedding4bit,
  Linear4bit,
  QuantState,
  quantizeNf4,
  type FloatDType,
  type PackedModule,
  type QuantizeOptions,
} from '../nf4';
import type { Qwen2Audio } from '../qwen2-audio';
import { nn, noGrad, scope, type Tensor } from '../torch';
import { quantizeModel } from './quantize';

/**
 * Merges into weights of the model's dtype, in place and layer by layer. 4-bit layers, adapted or
 * not, and 4-bit embeddings become plain ones; sums are made in float32 and rounded once.
 */
export function mergeInFullPrecision(model: Qwen2Audio, adapter: LoraAdapter): void {
  const dtype = model.dtype as FloatDType;
  mergeLora(adapter, (base, update) => {
    if (base instanceof Linear4bit) return unpacked(base, dtype, update);
    addToWeight(base as nn.Linear, update);
    return base;
  });
  nn.replaceModules(model, (_, module) => {
    if (module instanceof Linear4bit) return unpacked(module, dtype);
    if (!(module instanceof Embedding4bit)) return undefined;
    const plain = new nn.Embedding(module.numEmbeddings, module.embeddingDim, { dtype });
    replaceWeight(
      plain,
      scope(() => decoded(module).to(dtype)),
    );
    module.dispose();
    return plain;
  });
}

/**
 * Merges into 4-bit weights, in place and layer by layer: each sum is made in float32 and quantised
 * from there. Over a 4-bit base every layer stays what it is, with its block size, and those without
 * an update keep their bytes; of a full-precision base every linear layer but lm_head is quantised.
 */
export function mergeInNf4(
  model: Qwen2Audio,
  adapter: LoraAdapter,
  options: QuantizeOptions = {},
): void {
  const isPacked = [...model.namedModules()].some(([, module]) => module instanceof Linear4bit);
  mergeLora(adapter, (base, update, name) => {
    if (base instanceof Linear4bit) {
      const { blockSize, nested, dtype } = base.quantState;
      return packed(base, update, { blockSize, doubleQuant: nested !== undefined }, dtype);
    }
    const plain = base as nn.Linear;
    if (!isPacked && !name.endsWith('lm_head')) {
      return packed(plain, update, options, plain.weight.dtype as FloatDType);
    }
    addToWeight(plain, update);
    return plain;
  });
  if (!isPacked) quantizeModel(model, options);
}

/** The values of a 4-bit weight, float32. */
function decoded({ weight, quantState }: PackedModule): Tensor {
  return dequantizeNf4(weight, quantState, 'float32');
}

/** The weight with its update, float32. */
function sum(base: nn.Linear | Linear4bit, update?: LoraUpdate): Tensor {
  const weight = base instanceof Linear4bit ? decoded(base) : base.weight.to('float32');
  return update === undefined ? weight : weight.add(update.deltaWeight());
}

/** A plain layer in the place of a 4-bit one, which is freed. */
function unpacked(base: Linear4bit, dtype: FloatDType, update?: LoraUpdate): nn.Linear {
  const plain = new nn.Linear(base.inFeatures, base.outFeatures, { bias: false, dtype });
  replaceWeight(
    plain,
    scope(() => noGrad(() => sum(base, update).to(dtype))),
  );
  if (base.bias !== undefined) plain.bias = nn.parameter(base.bias.detach());
  base.dispose();
  return plain;
}

function replaceWeight(module: nn.Linear | nn.Embedding, weight: Tensor): void {
  module.weight.dispose();
  module.weight = nn.parameter(weight);
}

/** A 4-bit layer in the place of `base`, which is freed. */
function packed(
  base: nn.Linear | Linear4bit,
  update: LoraUpdate,
  options: QuantizeOptions,
  dtype: FloatDType,
): Linear4bit {
  const layer = scope(() =>
    noGrad(() => {
      const { packed, quantState } = quantizeNf4(sum(base, update), options);
      const { absmax, code, nested, blockSize, shape } = quantState;
      // The float32 sum is ours; to readers the weight has the dtype that it had.
      const state = new QuantState(absmax, code, { blockSize, shape, dtype }, nested);
      const computeDtype = base instanceof Linear4bit ? base.computeDtype : undefined;
      return new Linear4bit(packed, state, { bias: base.bias?.detach(), computeDtype });
    }),
  );
  base.dispose();
  return layer;
}
