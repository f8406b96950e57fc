import { scope, type nn, type Tensor } from '../torch';
import { PackedModule, packedFromStateDict } from './packed-module';
import type { QuantState } from './quant-state';
import { QuantStateError, type FloatDType } from './quant-state-json';
import { embedding4bit, quantizeNf4, type QuantizeOptions } from './quantize';

/**
 * Rows of a matrix [numEmbeddings, embeddingDim] in NF4 and frozen: `bitsandbytes.nn.EmbeddingNF4`,
 * which has no serialised form of its own; here it is that of a linear layer. Rows are gathered
 * packed: only those that are asked for are decoded.
 */
export class Embedding4bit extends PackedModule {
  readonly numEmbeddings: number;
  readonly embeddingDim: number;

  /**
   * Takes the tensors over: they live as long as this module, out of every scope.
   * @param dtype of the rows that `forward` returns; that of the weight before it was quantised
   * unless given
   * @throws QuantStateError when the blocks of the weight do not end where its rows do
   */
  constructor(
    packed: Tensor,
    quantState: QuantState,
    readonly dtype: FloatDType = quantState.dtype,
  ) {
    const [, width] = quantState.shape;
    if (width !== undefined && width % quantState.blockSize !== 0) {
      throw new QuantStateError(
        `rows of ${width} values cannot be gathered from blocks of ${quantState.blockSize}; ` +
          'quantise with a block size that divides them',
      );
    }
    super(packed, quantState);
    [this.numEmbeddings, this.embeddingDim] = quantState.shape as [number, number];
  }

  /** Quantises full-precision embeddings, which stay as they are. */
  static fromEmbedding(embedding: nn.Embedding, options: QuantizeOptions = {}): Embedding4bit {
    return scope(() => {
      const { packed, quantState } = quantizeNf4(embedding.weight, options);
      return new Embedding4bit(packed, quantState);
    });
  }

  /**
   * Embeddings from the entries of a state dict below `prefix`; their tensors share their storage.
   * @throws QuantStateError when an entry is missing or of another format
   */
  static fromStateDict(
    state: ReadonlyMap<string, Tensor>,
    prefix: string,
    options: { dtype?: FloatDType } = {},
  ): Embedding4bit {
    return scope(() => {
      const { packed, quantState } = packedFromStateDict(state, prefix);
      return new Embedding4bit(packed, quantState, options.dtype);
    });
  }

  /** ids [...], integers, give [..., embeddingDim] in `dtype`. */
  forward(ids: Tensor): Tensor {
    return embedding4bit(ids, this.weight, this.quantState, this.dtype);
  }
}
