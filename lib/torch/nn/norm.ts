import { ones, zeros } from '../create';
import type { DType } from '../dtype';
import { layerNorm, rmsNorm } from '../functional';
import type { Tensor } from '../tensor';
import { Module, parameter } from './module';

/** Layer normalisation over the last dimension, with weight and bias (Ba et al. 2016). */
export class LayerNorm extends Module {
  weight: Tensor;
  bias: Tensor;

  constructor(
    readonly size: number,
    readonly eps: number = 1e-5,
    dtype: DType = 'float32',
  ) {
    super();
    this.weight = parameter(ones([size], { dtype }));
    this.bias = parameter(zeros([size], { dtype }));
  }

  /** x [..., size] gives the same shape. */
  forward(x: Tensor): Tensor {
    return layerNorm(x, [this.size], this.weight, this.bias, this.eps);
  }
}

/** Root-mean-square normalisation (Zhang & Sennrich 2019). */
export class RMSNorm extends Module {
  weight: Tensor;

  constructor(
    readonly size: number,
    readonly eps: number = 1e-6,
    dtype: DType = 'float32',
  ) {
    super();
    this.weight = parameter(ones([size], { dtype }));
  }

  /** x [..., size] gives the same shape. */
  forward(x: Tensor): Tensor {
    return rmsNorm(x, [this.size], this.weight, this.eps);
  }
}
