import { dropout } from '../functional';
import type { Tensor } from '../tensor';
import { Module } from './module';

/** Zeroes elements with probability p in training mode and scales the rest by 1 / (1 - p). */
export class Dropout extends Module {
  constructor(readonly p: number) {
    super();
  }

  /** x itself outside of training. */
  forward(x: Tensor): Tensor {
    return this.training && this.p > 0 ? dropout(x, this.p, true) : x;
  }
}
