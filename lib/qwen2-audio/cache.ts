import { empty, functional as F, keep, Tensor } from '../torch';

/** Keys and values of past positions, preallocated: a step writes one position and copies none. */
export class KeyValueCache {
  readonly #layers: { keys: Tensor; values: Tensor }[] = [];
  #length = 0;

  /** @param capacity positions that prompt and new tokens may take together */
  constructor(readonly capacity: number) {}

  get length(): number {
    return this.#length;
  }

  /**
   * Writes keys and values [batch, heads, time, headDim] of new positions and returns all so far.
   * The position moves on with `advance`, after the last layer.
   */
  append(layer: number, keys: Tensor, values: Tensor): [Tensor, Tensor] {
    let slot = this.#layers[layer];
    if (slot === undefined) {
      const [batch, heads, , headDim] = keys.shape as [number, number, number, number];
      const shape = [batch, heads, this.capacity, headDim];
      const options = { dtype: keys.dtype, device: keys.device };
      slot = { keys: keep(empty(shape, options)), values: keep(empty(shape, options)) };
      this.#layers[layer] = slot;
    }
    return F.cacheAppend(slot, keys, values, this.#length);
  }

  /** Writes what another has of this prompt, which it holds without room for more. */
  copyPrompt(other: KeyValueCache): void {
    for (const [layer, { keys, values }] of other.#layers.entries()) {
      this.append(layer, keys, values);
    }
  }

  advance(positions: number): void {
    this.#length += positions;
  }

  dispose(): void {
    for (const { keys, values } of this.#layers) {
      keys.dispose();
      values.dispose();
    }
    this.#layers.length = 0;
  }
}
