/** Scores of a model without one of its layers: what the importance search asks again and again. */
import { setImmediate } from 'node:timers/promises';
import type { Utterance } from '../data';
import { corpusScore, createMetricFor } from '../metrics';
import { PromptState, type Batch, type Qwen2Audio } from '../qwen2-audio';
import { noGrad, scope, type Tensor } from '../torch';
import { instructionOf, type Features } from '../train/examples';
import { CompressionError } from './error';
import { references } from './evaluate';
import type { Criterion, CriterionFunction, ImportanceOptions } from './importance';
import type { MetricKey } from './metric-keys';
import { EncodedSplit, PromptSet } from './translate';

/** 1 GiB. */
export const defaultPromptBytes: number = 2 ** 30;

/** In place of a layer: none is left out. */
export const noLayer = -1;

/**
 * The audio is encoded once. Candidates share all weights, and what the layers before the one that
 * is left out make of a prompt is computed once for all of them: asked for in the order of their
 * layers, they take half of the work.
 */
export class CandidateScorer {
  readonly #prompts = new Map<string, PromptSet>();
  /** By language, for each batch that there was room for. */
  readonly #states = new Map<string, (PromptState | undefined)[]>();
  #layers: readonly number[];
  #base: Qwen2Audio;
  /** Of all states, after their last layer. */
  #bytes = 0;

  private constructor(
    readonly model: Qwen2Audio,
    readonly audio: EncodedSplit,
    readonly languages: readonly string[],
    readonly options: ImportanceOptions,
  ) {
    this.#base = model;
    this.#layers = [...model.layers.keys()];
    for (const language of languages) {
      if (criterionFor(options, language) === 'loss') continue;
      this.#prompts.set(language, new PromptSet(audio, language));
    }
  }

  static async prepare(
    model: Qwen2Audio,
    features: Features,
    dev: readonly Utterance[],
    languages: readonly string[],
    options: ImportanceOptions,
  ): Promise<CandidateScorer> {
    for (const language of languages) criterionFor(options, language);
    const audio = await EncodedSplit.encode(model, features, dev, options);
    return new CandidateScorer(model, audio, languages, options);
  }

  /** From now on candidates are these layers without one. */
  startFrom(layers: readonly number[]): void {
    this.#freeStates();
    this.#layers = layers;
    this.#base = this.model.withLayers(layers);
  }

  /**
   * @param without a layer by its number in the full model; one that comes before the last one
   * that was asked for takes all of the work
   */
  async score(without: number): Promise<{ score: number; scores: Record<string, number> }> {
    const depth = this.#layers.indexOf(without);
    const candidate = this.model.withLayers(this.#layers.filter((layer) => layer !== without));
    const scores: Record<string, number> = {};
    let sum = 0;
    for (const language of this.languages) {
      const criterion = criterionFor(this.options, language);
      const value =
        criterion === 'loss'
          ? await this.#loss(candidate, depth, language)
          : await this.#quality(candidate, depth, language, criterion);
      scores[language] = value;
      sum += criterion === 'loss' ? -value : value;
    }
    return { score: sum / this.languages.length, scores };
  }

  dispose(): void {
    this.#freeStates();
    for (const prompts of this.#prompts.values()) prompts.dispose();
    this.audio.dispose();
  }

  async #quality(
    candidate: Qwen2Audio,
    depth: number,
    language: string,
    criterion: MetricKey | CriterionFunction,
  ): Promise<number> {
    const { maxNewTokens, signal } = this.options;
    const prompts = this.#prompts.get(language)!;
    const states = prompts.batches.map(({ batch, audioFeatures }, i) =>
      this.#stateOf(language, i, depth, batch, audioFeatures),
    );
    const { texts } = await prompts.translate(candidate, { maxNewTokens, signal }, states);
    const expected = references(this.audio.utterances, language);
    if (typeof criterion === 'function') return criterion(texts, expected, language);
    return corpusScore(createMetricFor(criterion, language), texts, expected).score;
  }

  async #loss(candidate: Qwen2Audio, depth: number, language: string): Promise<number> {
    const instruction = instructionOf(language);
    const targets = references(this.audio.utterances, language);
    const sums = { loss: 0, targets: 0 };
    for (const [i, { rows, audioFeatures }] of this.audio.batches.entries()) {
      await setImmediate();
      this.options.signal?.throwIfAborted();
      scope(() => {
        const batch = this.audio.collate(rows, { instruction, targets }, 'right');
        const promptState = this.#stateOf(language, i, depth, batch, audioFeatures);
        const known = { audioFeatures, promptState };
        const { loss, targets: count } = noGrad(() => candidate.loss(batch, known));
        sums.loss += loss.item();
        sums.targets += count;
      });
    }
    return sums.loss / sums.targets;
  }

  /** What the first `depth` layers made of a batch; undefined where there is no room for it. */
  #stateOf(
    language: string,
    index: number,
    depth: number,
    batch: Batch,
    audioFeatures: Tensor,
  ): PromptState | undefined {
    if (depth < 1) return undefined;
    const states = this.#states.get(language) ?? [];
    this.#states.set(language, states);
    if (!(index in states)) {
      const generates = this.#prompts.has(language);
      const bytes = PromptState.bytes(this.#base, batch, generates);
      const { promptBytes = defaultPromptBytes } = this.options;
      const fits = this.#bytes + bytes <= promptBytes;
      if (fits) this.#bytes += bytes;
      states[index] = fits
        ? new PromptState(this.#base, batch, audioFeatures, generates)
        : undefined;
    }
    const state = states[index];
    state?.advanceTo(depth);
    return state?.depth === depth ? state : undefined;
  }

  #freeStates(): void {
    for (const states of this.#states.values()) for (const state of states) state?.dispose();
    this.#states.clear();
    this.#bytes = 0;
  }
}

function criterionFor(options: ImportanceOptions, language: string): Criterion | CriterionFunction {
  const { criterion } = options;
  if (typeof criterion !== 'object') return criterion;
  const own = criterion[language];
  if (own === undefined) {
    throw new CompressionError(`no criterion is given for ${language}; add it to the recipe`);
  }
  return own;
}
