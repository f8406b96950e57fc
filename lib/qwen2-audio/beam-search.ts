/** Beam search, with the hypotheses and scores of transformers' `generate(num_beams=…)`. */
import { setImmediate } from 'node:timers/promises';
import { functional as F, noGrad, scope, tensor, type Tensor } from '../torch';
import type { Batch } from './batch';
import { Branches } from './branches';
import {
  GenerationError,
  type GeneratedSequence,
  type GenerateOptions,
  type GenerationConfig,
} from './generation-config';
import { logitsProcessors } from './logits-processors';
import type { Qwen2Audio } from './model';

/** A continuation of a beam by one token, with the sum of its log-probabilities. */
export interface Candidate {
  beam: number;
  id: number;
  score: number;
}

interface Beam {
  ids: readonly number[];
  /** Which beam of the step before it goes on from. */
  parent: number;
  score: number;
}

type BeamConfig = Pick<
  Required<GenerationConfig>,
  'numBeams' | 'lengthPenalty' | 'earlyStopping' | 'numReturnSequences'
>;

/** What takes a hypothesis out of the race, without losing it; transformers' value. */
const far = -1e9;

/** The search of one row: which beams go on, which have finished. Arithmetic is float32 throughout. */
export class BeamRow {
  /** The best first; the search begins with the one empty beam. */
  running: Beam[] = [{ ids: [], parent: 0, score: 0 }];
  /** The best first, with the score after the length penalty. */
  #finished: Required<GeneratedSequence>[] = [];
  #hopeful = true;

  constructor(
    readonly config: BeamConfig,
    readonly eosTokenIds: readonly number[],
    readonly maxNewTokens: number,
  ) {}

  /** Candidates that a step needs: enough go on even if all beams can end in each way there is. */
  static candidates(numBeams: number, eosTokenIds: readonly number[]): number {
    return Math.max(2, 1 + eosTokenIds.length) * numBeams;
  }

  /** Whether no hypothesis to come would be taken. */
  get done(): boolean {
    const { numBeams, earlyStopping } = this.config;
    return !this.#hopeful || (earlyStopping === true && this.#finished.length === numBeams);
  }

  /** @param candidates the best first */
  advance(candidates: readonly Candidate[]): void {
    const { numBeams } = this.config;
    const length = this.running[0]!.ids.length + 1;
    const beams = candidates.map(({ beam, id, score }) => {
      const ends = this.eosTokenIds.includes(id) || length === this.maxNewTokens;
      return { ids: [...this.running[beam]!.ids, id], parent: beam, score, ends };
    });
    // Of those that end, only the best have a place among the results.
    if (!this.done) {
      this.#finish(
        beams.slice(0, numBeams).filter(({ ends }) => ends),
        length,
      );
    }
    this.running = beams
      .map(({ ends, ...beam }) => (ends ? { ...beam, score: Math.fround(beam.score + far) } : beam))
      .sort((a, b) => b.score - a.score)
      .slice(0, numBeams);
    this.#hopeful &&= this.#canImprove(length);
  }

  #finish(beams: readonly Beam[], length: number): void {
    const ended = beams.map(({ ids, score }) => ({
      ids: [...ids],
      score: this.#penalised(score, length),
    }));
    this.#finished = [...this.#finished, ...ended]
      .sort((a, b) => b.score - a.score)
      .slice(0, this.config.numBeams);
  }

  #penalised(score: number, length: number): number {
    return Math.fround(score / Math.fround(length ** this.config.lengthPenalty));
  }

  #canImprove(length: number): boolean {
    const { numBeams, earlyStopping, lengthPenalty } = this.config;
    const longest = earlyStopping === 'never' && lengthPenalty > 0 ? this.maxNewTokens : length;
    const worst = this.#finished.length < numBeams ? far : this.#finished.at(-1)!.score;
    return this.#penalised(this.running[0]!.score, longest) > worst;
  }

  results(): GeneratedSequence[] {
    return this.#finished.slice(0, this.config.numReturnSequences);
  }
}

/**
 * @param config with more than one beam
 * @returns for each row `numReturnSequences`, the best first
 */
export async function beamSearch(
  model: Qwen2Audio,
  batch: Batch,
  config: Required<GenerationConfig>,
  options: GenerateOptions,
): Promise<GeneratedSequence[][]> {
  const { maxNewTokens, signal } = options;
  const { numBeams } = config;
  const { eosTokenIds, text } = model.config;
  if (numBeams > text.vocabSize) {
    throw new GenerationError(
      `numBeams is ${numBeams}, more than the ${text.vocabSize} tokens there are; give fewer`,
    );
  }
  const rows = batch.lengths.map(() => new BeamRow(config, eosTokenIds, maxNewTokens));
  const branches = new Branches(model, batch, numBeams, maxNewTokens);
  const count = BeamRow.candidates(numBeams, eosTokenIds);
  const processors = logitsProcessors(config);
  const prompts = processors.length > 0 ? branches.prompts() : [];

  /** The best continuations of each row's beams from hidden states [rows, beams, hidden]. */
  const candidates = (hidden: Tensor): Candidate[][] => {
    const { lmHead } = model.languageModel;
    const [, beams, width] = hidden.shape as [number, number, number];
    let scores = F.logSoftmax(lmHead.forward(hidden.reshape([-1, width])).to('float32'));
    const sequences = prompts.flatMap((prompt, row) =>
      rows[row]!.running.map(({ ids }) => [...prompt, ...ids]),
    );
    for (const process of processors) scores = process(sequences, scores);
    const vocab = scores.size(1);
    const sums = rows.flatMap(({ running }) => running.map(({ score }) => score));
    const { device } = model;
    const total = scores.add(tensor(sums, { shape: [sums.length, 1], device }));
    const k = Math.min(count, beams * vocab);
    const best = total.reshape([rows.length, beams * vocab]).topk(k);
    const [values, indices] = [best.values.toArray(), best.indices.toArray()];
    return rows.map((_, row) =>
      indices.slice(row * k, (row + 1) * k).map((index, i) => ({
        beam: Math.floor(index / vocab),
        id: index % vocab,
        score: values[row * k + i]!,
      })),
    );
  };

  try {
    let next = scope(() => noGrad(() => candidates(branches.begin(options).unsqueeze(1))));
    for (let step = 1; ; step++) {
      for (const [row, search] of rows.entries()) search.advance(next[row]!);
      if (step === maxNewTokens || rows.every(({ done }) => done)) break;
      await setImmediate();
      signal?.throwIfAborted();
      const tokens = rows.map(({ running }) => running.map(({ ids }) => ids.at(-1)!));
      const parents = rows.map(({ running }) => running.map(({ parent }) => parent));
      next = scope(() => noGrad(() => candidates(branches.extend(tokens, parents))));
    }
    return rows.map((search) => search.results());
  } finally {
    branches.dispose();
  }
}
