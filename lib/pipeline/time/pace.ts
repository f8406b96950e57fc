/**
 * How fast the machine is just now. Others on a shared one slow it down for seconds at a time; what is
 * timed then is set right by a piece of work that is always the same.
 */
import { keep, ones, scope, zeros, type Tensor } from '../../torch';
import { median, processorSeconds } from './stopwatch';

/** Seconds of the processors that a piece of work of its own takes. */
export interface Pace {
  now(): number;
}

/** Of each kind of work the machine's pace is the middle of so many. */
const samples = 3;

/** Products that stay in the cache, and a sum that does not: some 2 ms on one thread. */
export class ReferenceWork implements Pace, Disposable {
  readonly #matrix: Tensor = keep(scope(() => ones([256, 256])));
  readonly #values: Tensor = keep(scope(() => zeros([4 << 20])));

  constructor() {
    this.#run();
  }

  now(): number {
    const seconds = Array.from({ length: samples }, () => {
      const before = processorSeconds();
      this.#run();
      return processorSeconds() - before;
    });
    return median(seconds);
  }

  #run(): void {
    scope(() => {
      for (let i = 0; i < 4; i++) this.#matrix.matmul(this.#matrix);
      this.#values.sum();
    });
  }

  [Symbol.dispose](): void {
    this.#matrix.dispose();
    this.#values.dispose();
  }
}
