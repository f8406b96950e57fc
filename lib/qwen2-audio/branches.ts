/** Several continuations of each row of a batch at once, over one key-value cache. */
import { tensor, type Tensor } from '../torch';
import type { Batch } from './batch';
import { KeyValueCache } from './cache';
import type { Qwen2Audio } from './model';
import { prefill } from './prefill';
import type { KnownPrompt } from './prompt-state';

/**
 * The prompt is computed and kept once a row, however many continuations it has. Each new token of a
 * continuation takes one more position of its row, and a mask lets it see the prompt and its own
 * past alone. So nothing in the cache is moved or copied when a continuation ends and another goes
 * on twice, as beams do.
 */
export class Branches {
  readonly #cache: KeyValueCache;
  /** Positions behind the prompt [row][branch] that a branch sees. */
  #past: number[][][];
  #steps = 0;

  /**
   * @param batch padded on the left
   * @param width continuations of each row
   */
  constructor(
    readonly model: Qwen2Audio,
    readonly batch: Batch,
    readonly width: number,
    maxNewTokens: number,
  ) {
    // The last tokens are not read any more.
    const capacity = this.#promptLength + width * (maxNewTokens - 1);
    this.#cache = new KeyValueCache(capacity);
    this.#past = batch.lengths.map(() => Array.from({ length: width }, () => []));
  }

  get #promptLength(): number {
    return this.batch.inputIds.size(1);
  }

  /** Token ids of each row's prompt, without padding. */
  prompts(): number[][] {
    const time = this.#promptLength;
    const ids = this.batch.inputIds.toArray();
    return this.batch.lengths.map((length, row) =>
      ids.slice((row + 1) * time - length, (row + 1) * time),
    );
  }

  /** Hidden states [rows, hidden] that the first tokens follow from. */
  begin(known: KnownPrompt): Tensor {
    return prefill(this.model, this.batch, this.#cache, known);
  }

  /**
   * Reads a token of each continuation.
   * @param tokens [row][branch]
   * @param parents [row][branch], the branch of the step before that goes on with the token; each
   * its own unless given
   * @returns hidden states [rows, width, hidden] that the next tokens follow from
   */
  extend(tokens: readonly (readonly number[])[], parents?: readonly (readonly number[])[]): Tensor {
    const { model, batch, width } = this;
    const used = this.#cache.length;
    if (parents !== undefined) {
      this.#past = this.#past.map((row, r) => parents[r]!.map((parent) => [...row[parent]!]));
    }
    for (const row of this.#past) for (const [b, past] of row.entries()) past.push(used + b);
    const { device } = model;
    const shape = [batch.size, width];
    const ids = tensor(tokens.flat(), { shape, dtype: 'int64', device });
    const step = this.#steps++;
    return model.decode(model.languageModel.model.embedTokens.forward(ids), {
      rotary: model.rotary(batch.lengths.map((n) => new Array<number>(width).fill(n + step))),
      mask: this.#mask(used + width),
      cache: this.#cache,
    });
  }

  dispose(): void {
    this.#cache.dispose();
  }

  /** Additive mask [rows, 1, width, keys]; none where a single branch sees everything. */
  #mask(keys: number): Tensor | undefined {
    const { model, batch, width } = this;
    if (width === 1) return batch.stepMask(keys, model.dtype);
    const mask = new Float32Array(batch.size * width * keys).fill(-Infinity);
    const time = this.#promptLength;
    for (const [row, length] of batch.lengths.entries()) {
      for (const [b, past] of this.#past[row]!.entries()) {
        const start = (row * width + b) * keys;
        mask.fill(0, start + time - length, start + time);
        for (const position of past) mask[start + position] = 0;
      }
    }
    const { dtype, device } = model;
    return tensor(mask, { shape: [batch.size, 1, width, keys], dtype, device });
  }
}
