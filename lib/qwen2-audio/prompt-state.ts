/** What is known of a prompt before a model reads it. */
import { keep, noGrad, scope, type Tensor } from '../torch';
import type { Batch } from './batch';
import { KeyValueCache } from './cache';
import type { Qwen2Audio } from './model';

/** What need not be computed again for a batch; each entry alone is enough. */
export interface KnownPrompt {
  /** Audio features of the batch (`encodeAudio`). */
  audioFeatures?: Tensor;
  /** What the first layers of the model made of the batch. */
  promptState?: PromptState;
}

/** What layer `depth` of a model reads of a batch. */
export function promptInput(
  model: Qwen2Audio,
  batch: Batch,
  { audioFeatures, promptState }: KnownPrompt,
): { states: Tensor; depth: number } {
  if (promptState !== undefined) return promptState;
  const features = audioFeatures ?? model.project(model.encode(batch), batch);
  return { states: model.embed(batch, features), depth: 0 };
}

/**
 * How far a batch has come through a decoder. Models whose first layers are the same, as the
 * candidates of the importance search have them, go on from there; the results are the same to the
 * bit. Without gradients.
 */
export class PromptState {
  readonly #model: Qwen2Audio;
  readonly #batch: Batch;
  /** Only where tokens are to follow. */
  readonly #cache: KeyValueCache | undefined;
  #states: Tensor;
  #depth = 0;

  /**
   * @param model whose layers the others share
   * @param generates whether tokens are to follow, which need the prompt's keys and values
   */
  constructor(model: Qwen2Audio, batch: Batch, audioFeatures: Tensor, generates: boolean) {
    this.#model = model;
    this.#batch = batch;
    this.#cache = generates ? new KeyValueCache(batch.inputIds.size(1)) : undefined;
    this.#states = scope(() => noGrad(() => keep(model.embed(batch, audioFeatures))));
  }

  /** Bytes that a state takes at most, after the last layer. */
  static bytes(model: Qwen2Audio, batch: Batch, generates: boolean): number {
    const { hiddenSize, numKeyValueHeads, headDim } = model.config.text;
    const [rows, time] = batch.inputIds.shape as [number, number];
    const keyValues = generates ? 2 * model.layers.length * numKeyValueHeads * headDim : 0;
    return rows * time * (hiddenSize + keyValues) * (model.dtype === 'float32' ? 4 : 2);
  }

  /** What layer `depth` reads, [batch, time, hidden]. */
  get states(): Tensor {
    return this.#states;
  }
  /** Layers that have run. */
  get depth(): number {
    return this.#depth;
  }

  /** Lets the layers run up to this one, which has not run afterwards. */
  advanceTo(depth: number): void {
    if (depth <= this.#depth) return;
    const model = this.#model;
    const stack = model.languageModel.model;
    const before = this.#states;
    this.#states = scope(() =>
      noGrad(() => {
        const context = { ...model.contextOf(this.#batch), cache: this.#cache };
        return keep(stack.runLayers(before, context, this.#depth, depth));
      }),
    );
    this.#depth = depth;
    before.dispose();
  }

  /** Writes the prompt's keys and values of the layers that have run. */
  copyKeyValues(to: KeyValueCache): void {
    if (this.#cache !== undefined) to.copyPrompt(this.#cache);
  }

  /** Frees the states and the cache. */
  dispose(): void {
    this.#states.dispose();
    this.#cache?.dispose();
  }
}
