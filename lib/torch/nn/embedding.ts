import { empty } from '../create';
import type { DType } from '../dtype';
import { embedding } from '../functional';
import { randn, type Generator } from '../random';
import { scope } from '../scope';
import type { Tensor } from '../tensor';
import { Module, parameter } from './module';

/** Rows of `weight` [numEmbeddings, embeddingDim] by integer ids of any shape. */
export class Embedding extends Module {
  weight: Tensor;

  constructor(
    readonly numEmbeddings: number,
    readonly embeddingDim: number,
    options: { dtype?: DType; generator?: Generator } = {},
  ) {
    super();
    const { dtype = 'float32', generator } = options;
    const shape = [numEmbeddings, embeddingDim];
    this.weight = parameter(
      generator === undefined
        ? empty(shape, { dtype })
        : scope(() => randn(shape, { generator }).to(dtype)),
    );
  }

  /** ids [...] give [..., embeddingDim]. */
  forward(ids: Tensor): Tensor {
    return embedding(this.weight, ids);
  }
}
