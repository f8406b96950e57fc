/**
 * Memory of a step in bytes, counted from shapes. What is kept for backward is what the modules of
 * `qwen2-audio` keep; short-lived results of single operations are not counted.
 */
import type { Qwen2AudioConfig } from '../qwen2-audio';
import { logicalParameters } from '../qwen2-audio/logical-parameters';
import { dtypeSize } from '../torch/dtype';
import { momentBytes, type OptimizerName, type WeightDtype } from '../train/optimizers';
import type { Load } from './workload';

export type Shape = Pick<Qwen2AudioConfig, 'audio' | 'text'>;

/**
 * Tokens of a prompt before the audio and behind it: system, instruction and marks of the chat
 * template.
 */
export const promptTokens = { before: 26, behind: 14 } as const;

/** Bytes by what they are for. */
export type Memory = Partial<
  Record<
    | 'program'
    | 'weights'
    | 'gradients'
    | 'optimizer'
    | 'activations'
    | 'logits'
    | 'cache'
    | 'features',
    number
  >
>;

/** What of it is on the GPU, where one computes. */
const onDevice: readonly (keyof Memory)[] = [
  ...(['weights', 'gradients', 'optimizer', 'activations', 'logits', 'cache'] as const),
];

/**
 * What CUDA takes for itself of a GPU's memory and of the machine's: its context, loaded kernels,
 * workspaces of its libraries. Taken from what PyTorch's users report, not measured here.
 */
export const cudaBytes = { device: 0.6e9, host: 2e9 } as const;

/** Memory by where it is, of a stage whose model is on a GPU. */
export function placed(memory: Memory): { memory: Memory; deviceMemory: Memory } {
  const parts = Object.entries(memory) as [keyof Memory, number][];
  const part = (there: boolean): Memory =>
    Object.fromEntries(parts.filter(([key]) => onDevice.includes(key) === there));
  const host = part(false);
  return {
    memory: { ...host, program: (host.program ?? 0) + cudaBytes.host },
    deviceMemory: { program: cudaBytes.device, ...part(true) },
  };
}

/** How weights are packed into 4 bits. */
export interface Packing {
  skip?: readonly string[];
  blockSize: number;
  doubleQuant: boolean;
  lmHead: boolean;
  embeddings: boolean;
}

/**
 * Node with libtorch and its threads' scratch, measured with models of next to nothing, and the kernels
 * that are compiled for the shapes of batches: of a whole training split, with an adapter, and in
 * training there are more.
 */
export const programBytes = {
  copying: 220e6,
  decoding: 245e6,
  decodingAdapted: 265e6,
  decodingMuch: 280e6,
  training: 305e6,
} as const;

/** Bytes that a tokenizer takes for each of its tokens, measured with 20,000. */
const bytesOfToken = 1200;

/** A model's size, by its number of decoder layers and by whether it is in 4 bits. */
export class ModelCost {
  readonly parameters: number;
  /** Of linear layers, by whose weights most of a model is counted. */
  readonly #linear: number;
  readonly #vocabulary: number;

  constructor(
    readonly shape: Shape,
    readonly packing?: Packing,
  ) {
    const { audio, text } = shape;
    this.parameters = logicalParameters(shape).total;
    const keys = text.numKeyValueHeads * text.headDim;
    const queries = text.numAttentionHeads * text.headDim;
    const layer = text.hiddenSize * (2 * queries + 2 * keys + 3 * text.intermediateSize);
    this.#linear =
      audio.encoderLayers * (4 * audio.dModel ** 2 + 2 * audio.dModel * audio.encoderFfnDim) +
      audio.dModel * text.hiddenSize +
      text.numHiddenLayers * layer;
    this.#vocabulary = text.vocabSize * text.hiddenSize;
  }

  /** What the program takes that works with it. */
  programBytes(kind: keyof typeof programBytes): number {
    return programBytes[kind] + bytesOfToken * this.shape.text.vocabSize;
  }

  get isPacked(): boolean {
    return this.packing !== undefined;
  }

  withLayers(numHiddenLayers: number): ModelCost {
    const text = { ...this.shape.text, numHiddenLayers };
    return new ModelCost({ ...this.shape, text }, this.packing);
  }

  packed(packing: Packing): ModelCost {
    return new ModelCost(this.shape, packing);
  }

  /** As stages compute, but for what is in 4 bits. */
  bytesInMemory(weights: WeightDtype = 'float32'): number {
    return this.#bytes(dtypeSize[weights]);
  }

  /** Stored as bfloat16, but for what is in 4 bits. */
  get bytesOnDisk(): number {
    return this.#bytes(2);
  }

  /** Of an adapter on every linear layer but lm_head. */
  loraParameters(r: number): number {
    const { audio, text } = this.shape;
    const { dModel: d, encoderFfnDim: ffn } = audio;
    const { hiddenSize: h, intermediateSize: i } = text;
    const keys = text.numKeyValueHeads * text.headDim;
    const queries = text.numAttentionHeads * text.headDim;
    const encoder = audio.encoderLayers * (4 * 2 * d + 2 * (d + ffn));
    const decoder = text.numHiddenLayers * (2 * (h + queries) + 2 * (h + keys) + 3 * (h + i));
    return r * (encoder + d + h + decoder);
  }

  #bytes(each: number): number {
    if (this.packing === undefined) return each * this.parameters;
    const { blockSize, doubleQuant, lmHead, embeddings } = this.packing;
    const packed = this.#linear + this.#vocabulary * (Number(lmHead) + Number(embeddings));
    // A scale a block: float32, or a byte of which 256 have a float32.
    const scale = (doubleQuant ? 1 + 4 / 256 : 4) / blockSize;
    return packed * (0.5 + scale) + (this.parameters - packed) * each;
  }
}

/** Logits that are held at once, whatever the batch: `chunkSizeOf` in torch/chunked-loss. */
const logitsAtOnce = 2 ** 23;

/** Numbers that a decoder layer keeps of a token for backward. */
function decoderLayerNumbers({ text }: Shape, onGpu: boolean = false): number {
  const { hiddenSize: h, intermediateSize: i, headDim, numKeyValueHeads } = text;
  const keys = numKeyValueHeads * headDim;
  // Two inputs and two outputs of norms, queries, keys, values, attended; gate, up, their product.
  const fused = 6 * h + 2 * keys + 3 * i;
  // On a GPU norms, rotary positions and SwiGLU are chains of libtorch's operations: in float32 the
  // norms' inputs and what they are before the weight; queries and keys with their halves swapped,
  // before and behind; silu(gate).
  return fused + (onGpu ? 8 * h + 2 * (h + keys) + i : 0);
}

function encoderLayerNumbers({ audio }: Shape): number {
  return 8 * audio.dModel + 2 * audio.encoderFfnDim;
}

/** Bytes of each trained parameter in the state that training goes on from: itself and its moments. */
export function stateBytes({
  optimizer = 'adamw',
  weights = 'float32',
  lora,
}: {
  optimizer?: OptimizerName;
  weights?: WeightDtype;
  lora?: unknown;
}): number {
  return dtypeSize[lora === undefined ? weights : 'float32'] + momentBytes[optimizer];
}

export function trainingMemory(
  model: ModelCost,
  load: Load,
  settings: {
    trained: number;
    optimizer?: OptimizerName;
    lora: boolean;
    /** Steps have several micro-batches, whose gradients are summed. */
    accumulates?: boolean;
    weights?: WeightDtype;
    bf16?: boolean;
    checkpointing?: boolean;
    onGpu?: boolean;
  },
): Memory {
  const { shape } = model;
  const { weights = 'float32' } = settings;
  const each = dtypeSize[weights];
  const { audio, text } = shape;
  const { tokens, positions } = load;
  const decoderLayer = decoderLayerNumbers(shape, settings.onGpu);
  const encoderLayer = encoderLayerNumbers(shape);
  // In backward, a layer's activations have gradients of their own size; with checkpointing they are
  // also made again.
  const layer = Math.max(tokens * decoderLayer, positions * encoderLayer);
  const kept = settings.checkpointing
    ? text.numHiddenLayers * tokens * text.hiddenSize +
      audio.encoderLayers * positions * audio.dModel +
      layer
    : text.numHiddenLayers * tokens * decoderLayer + audio.encoderLayers * positions * encoderLayer;
  // Both convolutions, on twice as many frames, before and behind GELU.
  const convolutions = positions * audio.dModel * 6;
  // With autocast a copy of each matrix in bfloat16 is kept for backward.
  const casts = settings.bf16 && weights === 'float32';
  const copies = casts && !settings.lora && !settings.checkpointing ? 2 * model.parameters : 0;
  const logits = Math.min(load.targets * text.vocabSize, logitsAtOnce);
  const { trained, optimizer = 'adamw' } = settings;
  // Adapters are float32, and so are sums over micro-batches.
  const gradients = (settings.lora || settings.accumulates ? 4 : each) * trained;
  // Where no sums wait for them, gradients take the place of what backward is done with.
  const replaced = settings.accumulates ? 0 : Math.min(gradients, each * (kept - layer));
  return {
    program: model.programBytes('training'),
    weights: model.bytesInMemory(weights) + (settings.lora ? 4 * trained : 0),
    gradients,
    optimizer: momentBytes[optimizer] * trained,
    activations: each * (kept + layer + convolutions) - replaced + copies,
    // In float32: logits, their softmax, and the gradient; what lm_head learns until backward.
    logits: 3 * 4 * logits + (settings.lora ? 0 : 4 * text.vocabSize * text.hiddenSize),
  };
}

/** Numbers of a token that a cache of keys and values holds. */
function cachedNumbers({ text }: Shape): number {
  return 2 * text.numHiddenLayers * text.numKeyValueHeads * text.headDim;
}

/** What a layer search keeps of so many tokens of prompts: keys, values and a layer's input. */
export function promptStateBytes({ shape }: ModelCost, tokens: number): number {
  return 4 * tokens * (cachedNumbers(shape) + shape.text.hiddenSize);
}

/** Greedy decoding of batches. */
export function decodingMemory(
  model: ModelCost,
  /** Of a batch of prompts. */
  { positions, tokens, targets: rows }: Load,
  {
    newTokens,
    encoded,
    program = 'decoding',
  }: {
    newTokens: number;
    /** Audio tokens that are kept encoded. */
    encoded: number;
    program?: keyof typeof programBytes;
  },
): Memory {
  const { shape } = model;
  const { audio, text } = shape;
  const layer = Math.max(
    tokens * decoderLayerNumbers(shape),
    // A batch of clips is heard before it is decoded.
    positions * (encoderLayerNumbers(shape) + 6 * audio.dModel),
  );
  return {
    program: model.programBytes(program),
    weights: model.bytesInMemory(),
    activations: 4 * (layer + encoded * text.hiddenSize),
    logits: 2 * 4 * rows * text.vocabSize,
    cache: 4 * (tokens + rows * newTokens) * cachedNumbers(shape),
  };
}
