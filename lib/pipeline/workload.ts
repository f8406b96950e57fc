/** How much a batch is, in numbers that time is counted from. */
import { bucketBatches } from '../data';
import { audioTokenCount } from '../qwen2-audio/lengths';
import { promptTokens, type Shape } from './plan-memory';

/** An utterance as far as its length matters. */
export interface Clip {
  /** Of its log-mel features. */
  frames: number;
  /** Tokens of each text that is learnt. */
  targets: readonly number[];
}

/** What a batch brings, padding included. */
export interface Load {
  /** Of the encoder. */
  positions: number;
  /** Of one clip. */
  window: number;
  /** Of the decoder. */
  tokens: number;
  /** Tokens that are learnt, or guessed. */
  targets: number;
}

const ceilTo = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** Of a micro-batch in training, where the texts of a clip share its row. */
export function trainingLoad(clips: readonly Clip[], window: number): Load {
  const frames = ceilTo(Math.min(window, Math.max(...clips.map((c) => c.frames)) + 4), 16);
  const rowOf = ({ frames: own, targets }: Clip): number =>
    targets.reduce(
      (sum, count) => sum + promptTokens.behind + count + 1,
      promptTokens.before + Math.max(1, audioTokenCount(own)),
    );
  return {
    positions: (clips.length * frames) / 2,
    window: frames / 2,
    tokens: clips.length * ceilTo(Math.max(...clips.map(rowOf)), 8),
    targets: clips.flatMap(({ targets }) => targets).reduce((sum, count) => sum + count + 1, 0),
  };
}

/** Of the largest micro-batch there can be: clips are put together by their lengths. */
export function largestLoad(clips: readonly Clip[], size: number, window: number): Load {
  return trainingLoad([...clips].sort((a, b) => b.frames - a.frames).slice(0, size), window);
}

/** Of a batch of prompts. */
export function promptLoad(frames: readonly number[], window: number): Load {
  const longest = Math.min(window, Math.max(...frames));
  const padded = ceilTo(Math.min(window, longest + 4), 4);
  const prompt = promptTokens.before + promptTokens.behind;
  return {
    positions: (frames.length * padded) / 2,
    window: padded / 2,
    tokens: frames.length * (Math.max(1, audioTokenCount(longest)) + prompt),
    targets: frames.length,
  };
}

/** Multiplications of a forward pass through so many layers. */
export function multiplications(
  { audio, text }: Shape,
  load: Load,
  layers: { encoder: number; decoder: number; vocabulary: number },
): number {
  const { dModel: d, encoderFfnDim, numMelBins } = audio;
  const encoderLayer = 4 * d * d + 2 * d * encoderFfnDim + 2 * load.window * d;
  const front = 2 * 3 * numMelBins * d + 3 * d * d + (d * text.hiddenSize) / 2;
  const queries = text.numAttentionHeads * text.headDim;
  const keys = text.numKeyValueHeads * text.headDim;
  const decoderLayer = text.hiddenSize * (2 * queries + 2 * keys + 3 * text.intermediateSize);
  return (
    load.positions * (layers.encoder * encoderLayer + front) +
    load.tokens * layers.decoder * decoderLayer +
    load.targets * layers.vocabulary * text.hiddenSize
  );
}

/** Multiplications of a batch's audio through so many encoder layers. */
export function encodeWork(shape: Shape, frames: readonly number[], encoder: number): number {
  const load = { ...promptLoad(frames, 2 * shape.audio.maxSourcePositions), tokens: 0, targets: 0 };
  return multiplications(shape, load, { encoder, decoder: 0, vocabulary: 0 });
}

/** Multiplications of a batch's prompts through so many decoder layers, and of the first token. */
export function promptWork(
  shape: Shape,
  frames: readonly number[],
  layers: { decoder: number; vocabulary: number },
): number {
  const load = { ...promptLoad(frames, 2 * shape.audio.maxSourcePositions), positions: 0 };
  return multiplications(shape, load, { encoder: 0, ...layers });
}

/** The numbers of a batch that stands for all of an epoch, and its share of their mean. */
export function typicalBatch(
  clips: readonly Clip[],
  batchSize: number,
  seed: number,
  costOf: (clips: readonly Clip[]) => number,
): { indices: number[]; mean: number } {
  const lengths = clips.map(({ frames }) => frames);
  const batches = bucketBatches(lengths, Math.min(batchSize, clips.length), seed, 0);
  const costs = batches.map((batch) => costOf(batch.map((i) => clips[i]!)));
  const mean = costs.reduce((sum, cost) => sum + cost, 0) / costs.length;
  let best = 0;
  for (const [i, cost] of costs.entries()) {
    // A batch of the full size: the last of a pool may be smaller.
    const isFull = batches[i]!.length === batches[best]!.length;
    const larger = batches[i]!.length > batches[best]!.length;
    if (larger || (isFull && Math.abs(cost - mean) < Math.abs(costs[best]! - mean))) best = i;
  }
  return { indices: batches[best]!, mean: mean / costs[best]! };
}

/** The number of different shapes that so many steps meet. */
export function shapesIn(
  clips: readonly Clip[],
  batchSize: number,
  steps: number,
  seed: number,
  loadsOf: (clips: readonly Clip[]) => Load[],
): number {
  const lengths = clips.map(({ frames }) => frames);
  const met = new Set<string>();
  let step = 0;
  for (let epoch = 0; step < steps; epoch++) {
    for (const batch of bucketBatches(lengths, batchSize, seed, epoch)) {
      if (step++ === steps) break;
      for (const { positions, tokens } of loadsOf(batch.map((i) => clips[i]!))) {
        met.add(`${positions} ${tokens}`);
      }
    }
  }
  return met.size;
}
