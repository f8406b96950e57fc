import { linear } from '../functional';
import { empty } from '../create';
import { rand, type Generator } from '../random';
import { scope } from '../scope';
import type { DType } from '../dtype';
import type { Tensor } from '../tensor';
import { Module, parameter } from './module';

/** Whether there is a bias (default), the dtype (float32), and how weights begin. */
export interface LinearOptions {
  bias?: boolean;
  dtype?: DType;
  /** Kaiming-uniform start, as PyTorch's; without a generator the weights are uninitialised. */
  generator?: Generator;
}

/** y = x W^T + b with W [outFeatures, inFeatures]. */
export class Linear extends Module {
  weight: Tensor;
  bias: Tensor | undefined;

  constructor(
    readonly inFeatures: number,
    readonly outFeatures: number,
    options: LinearOptions = {},
  ) {
    super();
    const make = (shape: number[]): Tensor => uniform(shape, 1 / Math.sqrt(inFeatures), options);
    this.weight = make([outFeatures, inFeatures]);
    this.bias = options.bias === false ? undefined : make([outFeatures]);
  }

  /** x [..., inFeatures] gives [..., outFeatures]. */
  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}

/** A parameter uniform in ±bound, or uninitialised when no generator is given. */
export function uniform(
  shape: readonly number[],
  bound: number,
  options: { dtype?: DType; generator?: Generator },
): Tensor {
  const { dtype = 'float32', generator } = options;
  if (generator === undefined) return parameter(empty(shape, { dtype }));
  return parameter(
    scope(() =>
      rand(shape, { generator })
        .mul(2 * bound)
        .sub(bound)
        .to(dtype),
    ),
  );
}
