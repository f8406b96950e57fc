import type { DType } from '../dtype';
import { conv1d } from '../functional';
import type { Generator } from '../random';
import type { Tensor } from '../tensor';
import { uniform } from './linear';
import { Module } from './module';

/** Stride (default 1) and padding (zeros on both sides, default 0), and how weights begin. */
export interface Conv1dOptions {
  stride?: number;
  padding?: number;
  dtype?: DType;
  /** Kaiming-uniform start, as PyTorch's; without a generator the weights are uninitialised. */
  generator?: Generator;
}

/** Convolution over the last dimension of [batch, channels, time]. */
export class Conv1d extends Module {
  weight: Tensor;
  bias: Tensor;
  readonly stride: number;
  readonly padding: number;

  constructor(
    readonly inChannels: number,
    readonly outChannels: number,
    readonly kernelSize: number,
    options: Conv1dOptions = {},
  ) {
    super();
    this.stride = options.stride ?? 1;
    this.padding = options.padding ?? 0;
    const bound = 1 / Math.sqrt(inChannels * kernelSize);
    this.weight = uniform([outChannels, inChannels, kernelSize], bound, options);
    this.bias = uniform([outChannels], bound, options);
  }

  /** x [batch, in, time] gives [batch, out, floor((time + 2 padding - kernel) / stride) + 1]. */
  forward(x: Tensor): Tensor {
    return conv1d(x, this.weight, this.bias, this.stride, this.padding);
  }
}
