import { dtypeSize, empty, keep, scope, Tensor, type DType } from '../torch';
import { binding, ok, type PackedWeight } from '../torch/binding';
import { dtypeCode } from '../torch/dtype';
import { QuantState } from './quant-state';
import {
  blockSizes,
  nestedBlockSize,
  QuantStateError,
  type BlockSize,
  type FloatDType,
} from './quant-state-json';

/** How values are grouped, and whether what scales them is quantised, too. */
export interface QuantizeOptions {
  /** Values that share an absmax; 64 as QLoRA has it. */
  blockSize?: BlockSize;
  /** Absmax in 8 bits too, 0.37 bits a value less at block size 64 (bitsandbytes' compress_statistics). */
  doubleQuant?: boolean;
}

/** A weight in NF4 and what decodes it. */
export interface Quantized {
  /** uint8 [ceil(numel / 2), 1]; the first of two values is in the high nibble. */
  packed: Tensor;
  quantState: QuantState;
}

/**
 * 4-bit NormalFloat (Dettmers et al. 2023), byte for byte `bitsandbytes.functional.quantize_4bit`
 * with `quant_type="nf4"` on the CPU. No full-precision copy of the tensor is made.
 * @param values float32, bfloat16 or float16, of any shape
 * @throws QuantStateError for another dtype or block size
 */
export function quantizeNf4(values: Tensor, options: QuantizeOptions = {}): Quantized {
  const { dtype, shape } = values;
  const description = describe(dtype, shape, options);
  return scope(() => {
    const made = binding.nf4Quantize(values.id, description.blockSize);
    const [packed, absmax] = tensors(made) as [Tensor, Tensor];
    return { packed, quantState: quantStateOf(absmax, description, options) };
  });
}

type Description = Pick<QuantState, 'blockSize' | 'dtype' | 'shape'>;

function describe(dtype: DType, shape: readonly number[], options: QuantizeOptions): Description {
  const { blockSize = 64 } = options;
  if (dtype !== 'float32' && dtype !== 'bfloat16' && dtype !== 'float16') {
    throw new QuantStateError(`cannot quantise a tensor of ${dtype} to NF4: convert it to float32`);
  }
  if (!blockSizes.includes(blockSize)) {
    throw new QuantStateError(
      `NF4 block size ${String(blockSize)} is not one of ${blockSizes.join(', ')}`,
    );
  }
  return { blockSize, dtype, shape };
}

function quantStateOf(
  absmax: Tensor,
  description: Description,
  { doubleQuant = true }: QuantizeOptions,
): QuantState {
  const code = Tensor.from(binding.nf4Codebook(absmax.device));
  if (!doubleQuant) return new QuantState(absmax, code, description);
  const quantised = tensors(binding.nf4QuantizeAbsmax(absmax.id));
  const [codes, groups, mean] = quantised as [Tensor, Tensor, Tensor];
  const map = Tensor.from(binding.dynamicMap(true, absmax.device));
  const nested = { absmax: groups, code: map, offset: mean.item() };
  return new QuantState(codes, code, description, nested);
}

/** Of the packed bytes of a weight of this shape. */
export function packedShape(shape: readonly number[]): number[] {
  return [Math.ceil(numelOf(shape) / 2), 1];
}

/** What the packed bytes of a weight of this shape are written into; what it holds is undefined. */
export function emptyPacked(shape: readonly number[]): Tensor {
  return Tensor.from(binding.nf4EmptyPacked(numelOf(shape)));
}

/** A tensor of bitsandbytes' format, by its name below the weight's. */
export type StoredPart = readonly [key: string, dtype: DType, shape: readonly number[]];

/** Dtypes and shapes of what is stored beside a packed weight of this shape, the JSON apart. */
export function storedParts(shape: readonly number[], options: QuantizeOptions): StoredPart[] {
  const { blockSize = 64, doubleQuant = true } = options;
  const blocks = Math.ceil(numelOf(shape) / blockSize);
  const codebook: StoredPart = ['quant_map', 'float32', [16]];
  if (!doubleQuant) return [['absmax', 'float32', [blocks]], codebook];
  return [
    ['absmax', 'uint8', [blocks]],
    codebook,
    ['nested_absmax', 'float32', [Math.ceil(blocks / nestedBlockSize)]],
    ['nested_quant_map', 'float32', [256]],
  ];
}

function numelOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * {@link quantizeNf4} of a weight whose bytes come in pieces: it is never held whole, and the result
 * is the same, byte for byte.
 */
export class PiecewiseQuantizer {
  readonly #description: Description;
  readonly #options: QuantizeOptions;
  readonly #absmax: Tensor;
  #values = 0;
  #finished = false;

  /**
   * @param dtype of the values, in the order of `shape`
   * @throws QuantStateError for another dtype or block size
   */
  constructor(dtype: DType, shape: readonly number[], options: QuantizeOptions = {}) {
    this.#description = describe(dtype, shape, options);
    this.#options = options;
    this.#absmax = keep(empty([Math.ceil(numelOf(shape) / this.#description.blockSize)]));
  }

  /**
   * Quantises the next values.
   * @param bytes of whole blocks, but for the last piece
   * @param packed gets the result, uint8 with an element for two values, from element `at` on
   * @returns how many elements that were
   */
  add(bytes: Uint8Array, packed: Tensor, at: number = 0): number {
    const { dtype, blockSize } = this.#description;
    const values = bytes.byteLength / dtypeSize[dtype];
    const count = Math.ceil(values / 2);
    scope(() => {
      const blocks = Math.ceil(values / blockSize);
      const absmax = this.#absmax.narrow(0, this.#values / blockSize, blocks);
      const target = packed.narrow(0, at, count);
      const code = dtypeCode(dtype);
      ok(binding.nf4QuantizeBytes(bytes, code, blockSize, target.id, absmax.id));
    });
    this.#values += values;
    return count;
  }

  /** The state when all values are there; it belongs to the caller. */
  finish(): QuantState {
    const state = scope(() => quantStateOf(this.#absmax, this.#description, this.#options));
    if (state.nested !== undefined) this.#absmax.dispose();
    this.#finished = true;
    return state;
  }

  /** Frees what a weight that was not finished holds. */
  [Symbol.dispose](): void {
    if (!this.#finished) this.#absmax.dispose();
  }
}

/** The values of a packed weight, in its shape; of its own dtype unless another is asked for. */
export function dequantizeNf4(
  packed: Tensor,
  quantState: QuantState,
  dtype: FloatDType = quantState.dtype,
): Tensor {
  return Tensor.from(
    binding.nf4Dequantize(...handles(packed, quantState), quantState.shape, dtypeCode(dtype)),
  );
}

/**
 * x W^T + bias straight from the packed weight [outFeatures, inFeatures], which is never decoded
 * whole. Gradients go to `x` and `bias`; the weight is frozen. bitsandbytes' `matmul_4bit`.
 * @param x [..., inFeatures], float32, bfloat16 or float16; the result has its dtype
 */
export function matmul4bit(
  x: Tensor,
  packed: Tensor,
  quantState: QuantState,
  bias?: Tensor,
): Tensor {
  const [outFeatures, inFeatures] = quantState.shape;
  if (outFeatures === undefined || inFeatures === undefined || quantState.shape.length !== 2) {
    throw new QuantStateError(
      `matmul4bit needs a matrix, got a weight of shape [${quantState.shape.join(', ')}]`,
    );
  }
  return Tensor.from(
    binding.nf4Linear(
      x.id,
      ...handles(packed, quantState),
      outFeatures,
      inFeatures,
      bias === undefined ? 0 : bias.id,
    ),
  );
}

/**
 * Rows of a packed weight [numEmbeddings, embeddingDim], whose blocks end where its rows do.
 * @param ids integers of any shape
 * @returns [...ids, embeddingDim] in `dtype`
 * @throws TorchError for an id outside of the weight
 */
export function embedding4bit(
  ids: Tensor,
  packed: Tensor,
  quantState: QuantState,
  dtype: FloatDType = quantState.dtype,
): Tensor {
  const [, embeddingDim] = quantState.shape;
  const weight = handles(packed, quantState);
  return Tensor.from(binding.nf4Embedding(ids.id, ...weight, embeddingDim!, dtypeCode(dtype)));
}

/** The arguments by which the addon knows a weight. */
function handles(packed: Tensor, state: QuantState): PackedWeight {
  const { absmax, nested, blockSize } = state;
  return [
    packed.id,
    absmax.id,
    nested === undefined ? 0 : nested.absmax.id,
    nested === undefined ? 0 : nested.code.id,
    nested?.offset ?? 0,
    blockSize,
  ];
}

function tensors(ids: number[] | undefined): Tensor[] {
  return ok(ids).map((id) => new Tensor(id));
}
