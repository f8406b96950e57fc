/**
 * Which decoder layers the task does not need: the greedy search of Moslem (IWSLT 2025). In each
 * iteration every remaining layer is left out in turn, the dev set is translated and scored, and
 * the layer whose absence scores highest goes for good. Nothing is trained in between.
 */
import type { Utterance } from '../data';
import { warn } from '../errors';
import { JsonLines } from '../json-lines';
import type { Qwen2Audio } from '../qwen2-audio';
import { leads, shareWork, type Ranks } from '../ranks';
import type { Features } from '../train/examples';
import { CandidateScorer, noLayer } from './candidate-scorer';
import { CompressionError } from './error';

/** What a candidate is scored by; `loss` is teacher-forced, per target token, lower is better. */
export type Criterion = 'bleu' | 'chrf' | 'chrf++' | 'loss';

/**
 * A criterion of one's own: a score of the dev set's translations into a language, higher is better.
 * The `fingerprint` of a search should name it, since a trace cannot.
 */
export type CriterionFunction = (
  hypotheses: readonly string[],
  references: readonly string[],
  language: string,
) => number | Promise<number>;

/** How many layers go, by what a candidate is scored, and where the scores are kept. */
export interface ImportanceOptions {
  /** Layers to remove. */
  remove: number;
  /** One for all languages, or one each; a candidate's score is their mean. */
  criterion:
    Criterion | CriterionFunction | Readonly<Record<string, Criterion | CriterionFunction>>;
  /** Never removed, beside the first and the last. */
  protectedLayers?: readonly number[];
  maxNewTokens: number;
  batchSize: number;
  /**
   * Memory for what candidates have in common of the prompts, `defaultPromptBytes` unless given;
   * what finds no room is computed anew for each, with the same result.
   */
  promptBytes?: number;
  /** Where each candidate's score is appended; a search that was killed goes on from it. */
  trace: string;
  /**
   * Of model, dev set and criterion: a trace of another search is refused. How many layers are to
   * go is not part of it: a longer search goes on from a shorter one.
   */
  fingerprint: string;
  signal?: AbortSignal;
  /** Candidates are handed out to them; the result is the same for any number. */
  ranks?: Ranks;
  /** Hears of candidates scored, the full model included, and of all that there will be. */
  onProgress?: (done: number, total: number) => void;
  /** Hears of a damaged line of the trace; Node's own warning unless given. */
  onWarning?: (message: string) => void;
}

/** The model without one layer. */
export interface Candidate {
  layer: number;
  /** Higher is better; a loss is negated. */
  score: number;
  /** By language, as the criterion gives it. */
  scores: Record<string, number>;
}

/** A layer that went for good, and the candidates it was chosen among. */
export interface Iteration {
  removed: number;
  candidates: Candidate[];
}

/** The layers to remove, and how the search came to them. */
export interface ImportanceResult {
  /** Layers in the order of their removal, by their number in the full model. */
  removed: number[];
  /** What is left, ascending. */
  kept: number[];
  /** Score with all layers. */
  fullScore: number;
  iterations: Iteration[];
}

type TraceLine = { fingerprint: string; iteration: number } & Candidate;

/** Layers that may be removed: neither the first nor the last nor what is protected. */
export function candidateLayers(count: number, protectedLayers: readonly number[] = []): number[] {
  const fixed = new Set([0, count - 1, ...protectedLayers]);
  return Array.from({ length: count }, (_, i) => i).filter((i) => !fixed.has(i));
}

/** Candidates that a search scores in all; 32 to 24 layers give 212. */
export function candidateCount(candidates: number, remove: number): number {
  let total = 0;
  for (let i = 0; i < remove; i++) total += candidates - i;
  return total;
}

/**
 * The layers that a search may remove from a decoder of `count` layers.
 * @throws CompressionError if more are to go than may go, or a protected one does not exist
 */
export function checkRemoval(
  count: number,
  { remove, protectedLayers = [] }: Pick<ImportanceOptions, 'remove' | 'protectedLayers'>,
): number[] {
  const unknown = protectedLayers.find((layer) => layer >= count);
  if (unknown !== undefined) {
    throw new CompressionError(
      `layer ${unknown} cannot be protected: the model has decoder layers 0 to ${count - 1}`,
    );
  }
  const open = candidateLayers(count, protectedLayers);
  if (remove > open.length) {
    throw new CompressionError(
      `${remove} of ${count} decoder layers are to be removed, but only ${open.length} may ` +
        'be; remove fewer or protect fewer',
    );
  }
  return open;
}

/**
 * The block of `remove` layers in the middle of the decoder, to compare a search with. Where it
 * cannot lie in the very middle, it lies a layer nearer to the beginning.
 * @throws CompressionError as {@link checkRemoval}, and if a protected layer lies in the block
 */
export function middleBlock(
  count: number,
  options: Pick<ImportanceOptions, 'remove' | 'protectedLayers'>,
): number[] {
  const { remove } = options;
  const open = checkRemoval(count, options);
  const first = Math.floor((count - remove) / 2);
  const block = Array.from({ length: remove }, (_, i) => first + i);
  const fixed = block.find((layer) => !open.includes(layer));
  if (fixed === undefined) return block;
  throw new CompressionError(
    `layer ${fixed} lies in the block in the middle (${first} to ${first + remove - 1}), but it is ` +
      'protected; remove fewer, or search',
  );
}

/**
 * Runs the search on the dev set. The audio is encoded once; a candidate shares all weights.
 * @throws CompressionError if more layers are to go than may go, or the trace is of another search
 */
export async function searchLayers(
  model: Qwen2Audio,
  features: Features,
  dev: readonly Utterance[],
  languages: readonly string[],
  options: ImportanceOptions,
): Promise<ImportanceResult> {
  const count = model.layers.length;
  const open = checkRemoval(count, options);
  const trace = new JsonLines<TraceLine>(options.trace, true);
  // The trace is the leader's; the others hear of it what they need.
  const known = leads(options.ranks) ? readTrace(trace, options) : new Map<string, Candidate>();
  await features.load(dev);
  const scorer = await CandidateScorer.prepare(model, features, dev, languages, options);
  const total = candidateCount(open.length, options.remove) + 1;
  let done = 0;
  try {
    const scoresOf = (iteration: number, layers: readonly number[]): Promise<Candidate[]> => {
      const before = layers.map((layer) => known.get(`${iteration} ${layer}`));
      const entries = [...before.entries()].filter(([, candidate]) => candidate !== undefined);
      return shareWork(options.ranks, layers.length, (i) => score(scorer, layers[i]!), {
        known: new Map(entries) as Map<number, Candidate>,
        onResult: (i, candidate) => {
          if (before[i] === undefined && leads(options.ranks)) {
            trace.append({ fingerprint: options.fingerprint, iteration, ...candidate });
          }
          options.onProgress?.(++done, total);
        },
        signal: options.signal,
      });
    };
    let kept = Array.from({ length: count }, (_, i) => i);
    const [full] = await scoresOf(0, [noLayer]);
    const iterations: Iteration[] = [];
    for (let iteration = 1; iteration <= options.remove; iteration++) {
      scorer.startFrom(kept);
      const layers = kept.filter((l) => open.includes(l));
      const candidates = await scoresOf(iteration, layers);
      const best = candidates.reduce((a, b) => (b.score > a.score ? b : a));
      kept = kept.filter((layer) => layer !== best.layer);
      iterations.push({ removed: best.layer, candidates });
    }
    return {
      removed: iterations.map((iteration) => iteration.removed),
      kept,
      fullScore: full!.score,
      iterations,
    };
  } finally {
    scorer.dispose();
  }
}

async function score(scorer: CandidateScorer, layer: number): Promise<Candidate> {
  const candidate = { layer, ...(await scorer.score(layer)) };
  if (Number.isFinite(candidate.score)) return candidate;
  throw new CompressionError(
    `the score without layer ${layer} is ${candidate.score}; look for damaged weights`,
  );
}

/** Whether a file is the trace of a search with this fingerprint, so that one can go on from it. */
export function isTraceOf(path: string, fingerprint: string): boolean {
  return new JsonLines<TraceLine>(path, true).read()[0]?.fingerprint === fingerprint;
}

function readTrace(
  trace: JsonLines<TraceLine>,
  options: ImportanceOptions,
): Map<string, Candidate> {
  const known = new Map<string, Candidate>();
  const { entries, damaged } = trace.scan();
  for (const line of damaged) {
    (options.onWarning ?? warn)(
      `${trace.path}: line ${line} is damaged; its candidate is scored again`,
    );
  }
  for (const { fingerprint, iteration, ...candidate } of entries) {
    if (fingerprint !== options.fingerprint) {
      throw new CompressionError(
        `${trace.path} is the trace of another search; remove it to start anew`,
      );
    }
    known.set(`${iteration} ${candidate.layer}`, candidate);
  }
  return known;
}
