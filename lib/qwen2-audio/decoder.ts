/** The language model: Qwen's decoder (`Qwen2ForCausalLM` in transformers). */
import {
  checkpoint,
  functional as F,
  nn,
  scope,
  Tensor,
  type DType,
  type Generator,
} from '../torch';
import type { TextConfig } from './config';
import type { KeyValueCache } from './cache';
import type { Packing } from './packing';
import { applyRotary, type Rotary } from './rotary';

/** What every layer of a pass shares. */
export interface DecoderContext {
  rotary: Rotary;
  /** Additive or boolean, broadcast to [batch, heads, queries, keys]; without one: causal. */
  mask?: Tensor;
  cache?: KeyValueCache;
  /** Hidden states are [1, tokens, hidden]; rotary and mask are of the padded rows. */
  packing?: Packing;
}

type Options = { dtype?: DType; generator?: Generator };

export class DecoderAttention extends nn.Module {
  qProj: nn.Linear;
  kProj: nn.Linear;
  vProj: nn.Linear;
  oProj: nn.Linear;
  readonly #config: TextConfig;

  constructor(config: TextConfig, options: Options) {
    super();
    this.#config = config;
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    this.qProj = new nn.Linear(hiddenSize, numAttentionHeads * headDim, options);
    this.kProj = new nn.Linear(hiddenSize, numKeyValueHeads * headDim, options);
    this.vProj = new nn.Linear(hiddenSize, numKeyValueHeads * headDim, options);
    const outer = { ...options, bias: false };
    this.oProj = new nn.Linear(numAttentionHeads * headDim, hiddenSize, outer);
  }

  forward(hiddenStates: Tensor, context: DecoderContext, layer: number): Tensor {
    const { numAttentionHeads, numKeyValueHeads, headDim } = this.#config;
    const { rotary, mask, cache, packing } = context;
    const time = packing?.time ?? hiddenStates.size(1);
    const batch = packing?.rows ?? hiddenStates.size(0);
    const split = (x: Tensor, heads: number): Tensor =>
      (packing?.unpack(x) ?? x).reshape([batch, time, heads, headDim]).transpose(1, 2);
    const q = applyRotary(split(this.qProj.forward(hiddenStates), numAttentionHeads), rotary);
    const rotated = applyRotary(split(this.kProj.forward(hiddenStates), numKeyValueHeads), rotary);
    const value = split(this.vProj.forward(hiddenStates), numKeyValueHeads);
    const [k, v] = cache === undefined ? [rotated, value] : cache.append(layer, rotated, value);
    const scale = headDim ** -0.5;
    const causal = mask === undefined && time > 1;
    const attended = F.scaledDotProductAttention(q, k, v, { mask, causal, scale });
    const rows = attended.transpose(1, 2).reshape([batch, time, -1]);
    return this.oProj.forward(packing?.pack(rows) ?? rows);
  }
}

export class DecoderMlp extends nn.Module {
  gateProj: nn.Linear;
  upProj: nn.Linear;
  downProj: nn.Linear;

  constructor(config: TextConfig, options: Options) {
    super();
    const { hiddenSize, intermediateSize } = config;
    const plain = { ...options, bias: false };
    this.gateProj = new nn.Linear(hiddenSize, intermediateSize, plain);
    this.upProj = new nn.Linear(hiddenSize, intermediateSize, plain);
    this.downProj = new nn.Linear(intermediateSize, hiddenSize, plain);
  }

  forward(x: Tensor): Tensor {
    return this.downProj.forward(F.swiglu(this.gateProj.forward(x), this.upProj.forward(x)));
  }
}

export class DecoderLayer extends nn.Module {
  selfAttn: DecoderAttention;
  mlp: DecoderMlp;
  inputLayernorm: nn.RMSNorm;
  postAttentionLayernorm: nn.RMSNorm;

  constructor(config: TextConfig, options: Options = {}) {
    super();
    this.selfAttn = new DecoderAttention(config, options);
    this.mlp = new DecoderMlp(config, options);
    this.inputLayernorm = new nn.RMSNorm(config.hiddenSize, config.rmsNormEps, options.dtype);
    this.postAttentionLayernorm = new nn.RMSNorm(
      config.hiddenSize,
      config.rmsNormEps,
      options.dtype,
    );
  }

  /** @param layer the position in the stack, which is also the index in the cache */
  forward(hiddenStates: Tensor, context: DecoderContext, layer: number): Tensor {
    const attended = this.selfAttn.forward(
      this.inputLayernorm.forward(hiddenStates),
      context,
      layer,
    );
    const h = hiddenStates.add(attended);
    return h.add(this.mlp.forward(this.postAttentionLayernorm.forward(h)));
  }
}

/** Embeddings, layers and the last norm. Pruning removes elements of `layers`. */
export class DecoderStack extends nn.Module {
  embedTokens: nn.Embedding;
  layers: DecoderLayer[];
  norm: nn.RMSNorm;
  /** In training, each layer keeps its input alone and runs again in backward. */
  gradientCheckpointing: boolean = false;

  constructor(config: TextConfig, options: Options = {}) {
    super();
    this.embedTokens = new nn.Embedding(config.vocabSize, config.hiddenSize, options);
    this.layers = Array.from(
      { length: config.numHiddenLayers },
      () => new DecoderLayer(config, options),
    );
    this.norm = new nn.RMSNorm(config.hiddenSize, config.rmsNormEps, options.dtype);
  }

  /**
   * @param hiddenStates what layer `from` reads: embeddings, unless the layers before have run
   * @returns hidden states [batch, time, hidden] after the last norm
   */
  forward(hiddenStates: Tensor, context: DecoderContext, from: number = 0): Tensor {
    const h = this.runLayers(hiddenStates, context, from, this.layers.length);
    context.cache?.advance(h.size(1));
    return this.norm.forward(h);
  }

  /** The layers from one to before another; the cache's position stays. */
  runLayers(hiddenStates: Tensor, context: DecoderContext, from: number, to: number): Tensor {
    let h = hiddenStates;
    const forgets = this.gradientCheckpointing && this.training;
    // A layer's own tensors go with it; what backward needs is held by autograd.
    for (let i = from; i < to; i++) {
      const forward = (x: Tensor): Tensor => this.layers[i]!.forward(x, context, i);
      h = forgets ? checkpoint(forward, h) : scope(() => forward(h));
    }
    return h;
  }
}

export class CausalLM extends nn.Module {
  model: DecoderStack;
  lmHead: nn.Linear;

  constructor(config: TextConfig, options: Options = {}) {
    super();
    this.model = new DecoderStack(config, options);
    this.lmHead = new nn.Linear(config.hiddenSize, config.vocabSize, { ...options, bias: false });
  }
}
