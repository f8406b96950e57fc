import { scope, Tensor } from '../torch';
import { binding, ok, type PackedWeight } from '../torch/binding';
import { dtypeCode } from '../torch/dtype';
import { QuantState } from './quant-state';
import { blockSizes, QuantStateError, type BlockSize, type FloatDType } from './quant-state-json';

export interface QuantizeOptions {
  /** Values that share an absmax; 64 as QLoRA has it. */
  blockSize?: BlockSize;
  /** Absmax in 8 bits too, 0.37 bits a value less at block size 64 (bitsandbytes' compress_statistics). */
  doubleQuant?: boolean;
}

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
  const { blockSize = 64, doubleQuant = true } = options;
  const { dtype, shape, device } = values;
  if (dtype !== 'float32' && dtype !== 'bfloat16' && dtype !== 'float16') {
    throw new QuantStateError(`cannot quantise a tensor of ${dtype} to NF4: convert it to float32`);
  }
  if (!blockSizes.includes(blockSize)) {
    throw new QuantStateError(
      `NF4 block size ${String(blockSize)} is not one of ${blockSizes.join(', ')}`,
    );
  }
  return scope(() => {
    const [packed, absmax] = tensors(binding.nf4Quantize(values.id, blockSize)) as [Tensor, Tensor];
    const code = Tensor.from(binding.nf4Codebook(device));
    const description = { blockSize, dtype, shape };
    if (!doubleQuant) return { packed, quantState: new QuantState(absmax, code, description) };
    const [codes, groups, mean] = tensors(binding.nf4QuantizeAbsmax(absmax.id)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const nested = {
      absmax: groups,
      code: Tensor.from(binding.nf4DynamicMap(device)),
      offset: mean.item(),
    };
    return { packed, quantState: new QuantState(codes, code, description, nested) };
  });
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
