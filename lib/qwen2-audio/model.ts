/** Qwen2-Audio (`Qwen2AudioForConditionalGeneration` in transformers). */
import { functional as F, nn, noGrad, randn, scope, Tensor } from '../torch';
import type { DType, Generator } from '../torch';
import { PareError } from '../errors';
import { parseConfig, type Qwen2AudioConfig } from './config';
import { CausalLM, type DecoderContext, type DecoderLayer } from './decoder';
import { AudioEncoder } from './encoder';
import type { Batch, Targets } from './batch';
import { promptInput, type KnownPrompt } from './prompt-state';
import { rotaryTables, type Rotary } from './rotary';

/** The inputs of a model do not fit together. */
export class ModelInputError extends PareError {}

class Projector extends nn.Module {
  linear: nn.Linear;

  constructor(
    dModel: number,
    hiddenSize: number,
    options: { dtype?: DType; generator?: Generator },
  ) {
    super();
    this.linear = new nn.Linear(dModel, hiddenSize, options);
  }
}

/** A training step's sums, still to be divided by the targets of the whole optimiser step. */
export interface LossSums {
  /** Cross-entropy summed over the targets. */
  loss: Tensor;
  targets: number;
}

/**
 * The model: an audio tower, a projection of its states into the decoder, and the decoder with
 * lm_head.
 */
export class Qwen2Audio extends nn.Module {
  audioTower: AudioEncoder;
  multiModalProjector: Projector;
  languageModel: CausalLM;
  readonly #config: Qwen2AudioConfig;

  /** With a generator, a random start as transformers makes it; without, uninitialised. */
  constructor(
    config: Qwen2AudioConfig,
    options: { dtype?: DType; generator?: Generator; shared?: Qwen2Audio } = {},
  ) {
    super();
    this.#config = config;
    const { shared, ...rest } = options;
    this.audioTower = shared?.audioTower ?? new AudioEncoder(config.audio, rest);
    this.multiModalProjector =
      shared?.multiModalProjector ??
      new Projector(config.audio.dModel, config.text.hiddenSize, rest);
    this.languageModel = shared?.languageModel ?? new CausalLM(config.text, rest);
    if (rest.generator) initialize(this, config.text.initializerRange, rest.generator);
  }

  /** Of the checkpoint; after pruning, `layers` says how many decoder layers are left. */
  get config(): Qwen2AudioConfig {
    return this.#config;
  }
  /** The decoder's layers; pruning removes elements. */
  get layers(): DecoderLayer[] {
    return this.languageModel.model.layers;
  }
  /** That of the decoder's norms, which stay in floating point where the rest is in 4 bits. */
  get dtype(): DType {
    return this.languageModel.model.norm.weight.dtype;
  }
  /** See `DecoderStack.gradientCheckpointing`: memory for time, in tower and decoder. */
  get gradientCheckpointing(): boolean {
    return this.languageModel.model.gradientCheckpointing;
  }
  /** Sets both. */
  set gradientCheckpointing(value: boolean) {
    this.audioTower.gradientCheckpointing = value;
    this.languageModel.model.gradientCheckpointing = value;
  }
  /** `cpu`, `cuda:0`, … */
  get device(): string {
    return this.languageModel.model.norm.weight.device;
  }

  /**
   * A model of some of this one's decoder layers, in the given order. Everything is shared, nothing
   * is copied: a candidate of the importance search costs an array.
   */
  withLayers(indices: readonly number[]): Qwen2Audio {
    const stack = this.languageModel.model;
    const layers = indices.map((i) => {
      const layer = stack.layers[i];
      if (layer === undefined) {
        throw new ModelInputError(`no decoder layer ${i}; the model has ${stack.layers.length}`);
      }
      return layer;
    });
    const view = Object.assign(Object.create(Object.getPrototypeOf(stack)) as typeof stack, stack);
    view.layers = layers;
    const lm = this.languageModel;
    const language = Object.assign(Object.create(Object.getPrototypeOf(lm)) as typeof lm, lm);
    language.model = view;
    const result = new Qwen2Audio(this.#config, { shared: this });
    result.languageModel = language;
    result.training = this.training;
    return result;
  }

  /** Encoder states [clips, positions, d] of a batch's log-mel features. */
  encode(batch: Batch): Tensor {
    return this.audioTower.forward(batch.inputFeatures, batch.melFrames);
  }

  /**
   * Audio features [sum of audio tokens, hidden] in row order: the encoder's valid positions,
   * projected.
   */
  project(encoderStates: Tensor, batch: Batch): Tensor {
    const d = encoderStates.size(-1);
    const valid = encoderStates
      .reshape([-1, d])
      .indexSelect(0, batch.audioRows(encoderStates.size(1)));
    return this.multiModalProjector.linear.forward(valid);
  }

  /** Token embeddings [batch, time, hidden] with the audio features in place of `<|AUDIO|>`. */
  embed(batch: Batch, audioFeatures: Tensor): Tensor {
    const embeds = this.languageModel.model.embedTokens.forward(batch.inputIds);
    const tokens = batch.audioTokens.reduce((sum, n) => sum + n, 0);
    const features = audioFeatures.size(0);
    if (tokens !== features || tokens !== batch.audioPlaceholders) {
      throw new ModelInputError(
        `audio features and audio tokens do not match: tokens ${batch.audioPlaceholders}, ` +
          `features ${features}; was the prompt truncated?`,
      );
    }
    const mask = batch.inputIds.eq(this.#config.audioTokenIndex).unsqueeze(-1);
    return embeds.maskedScatter(mask.expand(embeds.shape), audioFeatures.to(embeds.dtype));
  }

  /** cos and sin [batch or 1, 1, time, headDim] of the rotary embeddings at [batch or 1][time]. */
  rotary(positionIds: readonly (readonly number[])[]): Rotary {
    const { headDim, ropeTheta } = this.#config.text;
    return rotaryTables(positionIds, headDim, ropeTheta, this.dtype, this.device);
  }

  /** What the layers share in a pass over a whole batch. */
  contextOf(batch: Batch): DecoderContext {
    const { packing } = batch;
    return { rotary: this.rotary(batch.positionIds), mask: batch.mask(this.dtype), packing };
  }

  /**
   * Hidden states [batch, time, hidden] after the last norm.
   * @param hiddenStates embeddings, or what layer `from` reads
   */
  decode(hiddenStates: Tensor, context: DecoderContext, from: number = 0): Tensor {
    return this.languageModel.model.forward(hiddenStates, context, from);
  }

  /** Logits [batch, time, vocab] of a whole batch, laid out as its ids; `loss` makes only some. */
  forward(batch: Batch): Tensor {
    const inputsEmbeds = this.embed(batch, this.project(this.encode(batch), batch));
    return this.languageModel.lmHead.forward(this.decode(inputsEmbeds, this.contextOf(batch)));
  }

  /**
   * The hidden states [targets, hidden] that predict a batch's targets, in the order of these.
   * @throws ModelInputError for a batch without labels
   */
  targetStates(batch: Batch, known: KnownPrompt = {}): { states: Tensor; targets: Targets } {
    const { targets } = batch;
    if (targets === undefined) throw new ModelInputError('the batch has no labels to train on');
    const { states: input, depth } = promptInput(this, batch, known);
    const hidden = this.decode(input, this.contextOf(batch), depth);
    const states = hidden.reshape([-1, hidden.size(-1)]).indexSelect(0, targets.rows);
    return { states, targets };
  }

  /**
   * Cross-entropy summed over the batch's targets; lm_head sees the positions that have a target
   * and no others, and their logits are never held whole.
   * @throws ModelInputError for a batch without labels
   */
  loss(batch: Batch, known: KnownPrompt = {}): LossSums {
    const { states: rows, targets } = this.targetStates(batch, known);
    const { lmHead } = this.languageModel;
    // An lm_head that something was done to (an adapter, 4 bits) makes its logits itself.
    const loss =
      lmHead.constructor === nn.Linear
        ? F.linearCrossEntropySum(rows, lmHead.weight, targets.ids)
        : F.headCrossEntropySum(rows, lmHead, targets.ids, this.#config.text.vocabSize);
    return { loss, targets: targets.count };
  }
}

// transformers' _init_weights: normal for weights of linear, convolution and embedding, zero for
// biases, ones for norms.
function initialize(model: Qwen2Audio, std: number, generator: Generator): void {
  noGrad(() => {
    for (const [, module] of model.namedModules()) {
      if (module === model.audioTower.embedPositions) continue;
      const isWeight =
        module instanceof nn.Linear ||
        module instanceof nn.Conv1d ||
        module instanceof nn.Embedding;
      if (!isWeight) continue;
      scope(() => {
        module.weight.copy_(randn(module.weight.shape, { generator }).mul(std));
        if ('bias' in module) module.bias?.zero_();
      });
    }
  });
}

/**
 * A model of as many layers and a handful of numbers: for questions about the names of modules,
 * before there are weights.
 */
export function skeleton(encoderLayers: number, numHiddenLayers: number): Qwen2Audio {
  const config = parseConfig({
    model_type: 'qwen2_audio',
    audio_config: {
      ...{ d_model: 2, encoder_attention_heads: 1, encoder_ffn_dim: 1, num_mel_bins: 1 },
      ...{ max_source_positions: 1, encoder_layers: encoderLayers },
    },
    text_config: {
      ...{ hidden_size: 2, num_attention_heads: 1, num_key_value_heads: 1, vocab_size: 1 },
      ...{ intermediate_size: 1, num_hidden_layers: numHiddenLayers },
    },
  });
  return new Qwen2Audio(config);
}
