/** Rows of a batch one behind the other, without the padding between them. */
import { cat, zeros, type Tensor } from '../torch';

/**
 * Where the tokens of padded rows are in one packed row. Whatever treats each token by itself (norms,
 * linear layers) computes the packed row; attention takes the rows apart, each with its own causal
 * mask and positions, so that nothing is computed for other rows only to be masked.
 *
 * Both ways split and concatenate: the backward pass of an index adds rows one by one, and takes
 * longer than padding does.
 */
export class Packing {
  /**
   * @param lengths tokens of each row
   * @param time that rows are padded to, on the right
   * @param tokens that the packed row has, fillers at its end included
   */
  constructor(
    readonly lengths: readonly number[],
    readonly time: number,
    readonly tokens: number,
  ) {}

  /** The rows that are packed. */
  get rows(): number {
    return this.lengths.length;
  }

  /** [1, tokens, width] as padded rows [batch, time, width], zero in the padding. */
  unpack(x: Tensor): Tensor {
    const width = x.size(-1);
    const padding = this.lengths.map((length) => this.time - length);
    const nothing = zeros([Math.max(...padding), width], x);
    const rows = x.reshape([-1, width]).split([...this.lengths, this.#fillers], 0);
    const parts = padding.flatMap((count, row) => [rows[row]!, nothing.narrow(0, 0, count)]);
    return cat(parts, 0).reshape([-1, this.time, width]);
  }

  /** Padded rows [batch, time, width] as [1, tokens, width], zero in the fillers. */
  pack(x: Tensor): Tensor {
    const width = x.size(-1);
    const sizes = this.lengths.flatMap((length) => [length, this.time - length]);
    const parts = x.reshape([-1, width]).split(sizes, 0);
    const rows = parts.filter((_, i) => i % 2 === 0);
    return cat([...rows, zeros([this.#fillers, width], x)], 0).unsqueeze(0);
  }

  get #fillers(): number {
    return this.tokens - this.lengths.reduce((sum, length) => sum + length, 0);
  }
}
