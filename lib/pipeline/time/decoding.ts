/** How often the parts of decoding are done in a stage. */
import { candidateLayers } from '../../compress';
import type { Utterance } from '../../data';
import type { Shape } from '../plan-memory';
import type { Recipe } from '../recipe-schema';
import type { DecodingCost } from './probe-decoding';
import type { ProbeTexts } from './probe-texts';
import { encodeWork, multiplications, promptWork } from '../workload';

/** What is known of the corpus. */
export interface Heard {
  recipe: Recipe;
  shape: Shape;
  texts: ProbeTexts;
  framesOf(utterances: readonly Utterance[]): number[];
}

interface Batch {
  frames: number[];
  /** Tokens until the longest text has ended, in each language. */
  tokens: number[];
}

function batchesOf(
  { recipe, texts, framesOf }: Heard,
  utterances: readonly Utterance[],
  languages: readonly string[],
): Batch[] {
  const frames = framesOf(utterances);
  const { batchSize, maxNewTokens } = recipe.generation;
  const order = [...frames.keys()].sort((a, b) => frames[a]! - frames[b]!);
  const batches: Batch[] = [];
  for (let at = 0; at < order.length; at += batchSize) {
    const rows = order.slice(at, at + batchSize);
    const tokensIn = (language: string): number => {
      const counts = rows.map((row) =>
        texts.count(utterances[row]!.translations[language]!, language),
      );
      return Math.min(maxNewTokens, Math.max(...counts) + 1);
    };
    batches.push({ frames: rows.map((row) => frames[row]!), tokens: languages.map(tokensIn) });
  }
  return batches;
}

const sumOf = <T>(all: readonly T[], of: (one: T) => number): number =>
  all.reduce((sum, one) => sum + of(one), 0);

/** Multiplications in place of seconds. */
export function decodingWork({ recipe, shape }: Heard): DecodingCost {
  const { vocabSize: vocabulary } = shape.text;
  const { batchSize: rows } = recipe.generation;
  const token = { positions: 0, window: 0, tokens: rows, targets: rows };
  return {
    encode: (frames) => encodeWork(shape, frames, shape.audio.encoderLayers),
    prompt: (frames, decoder) => promptWork(shape, frames, { decoder, vocabulary }),
    token: (decoder) => multiplications(shape, token, { encoder: 0, decoder, vocabulary }),
    ...{ start: 0, shape: 0, extrapolated: 1 },
  };
}

/** Seconds of the processors for a split in some languages. */
export function decodingSeconds(
  heard: Heard,
  utterances: readonly Utterance[],
  languages: readonly string[],
  cost: DecodingCost,
  layers: number,
): number {
  return sumOf(batchesOf(heard, utterances, languages), ({ frames, tokens }) => {
    const once = cost.encode(frames) + cost.prompt(frames, layers);
    // A smaller batch has fewer rows to go on with; a token costs nearly the same.
    return sumOf(tokens, (count) => cost.shape + once + (count - 1) * cost.token(layers));
  });
}

/**
 * Seconds of the processors for a layer search. Candidates are asked for in the order of their layers,
 * and one goes on from what the layers before the missing one made of the prompts.
 */
export function searchSeconds(
  heard: Heard,
  { importance, languages }: Recipe,
  dev: readonly Utterance[],
  cost: DecodingCost,
  layers: number,
): number {
  const { remove, criterion, protectedLayers } = importance!;
  const open = candidateLayers(layers, protectedLayers);
  const middle = sumOf(open, (layer) => layer) / open.length;
  const last = Math.max(...open);
  return sumOf(batchesOf(heard, dev, languages), ({ frames, tokens }) => {
    const encoded = cost.encode(frames);
    const prompt = (count: number): number => cost.prompt(frames, Math.max(0, count));
    const none = prompt(0);
    const each = (prompt(layers) - none) / layers;
    const ofLanguage = (language: string, count: number): number => {
      const isLoss = (typeof criterion === 'string' ? criterion : criterion[language]) === 'loss';
      const steps = (left: number): number => (isLoss ? 0 : (count - 1) * cost.token(left));
      let seconds = cost.shape + prompt(layers) + steps(layers);
      for (let gone = 0; gone < remove; gone++) {
        const left = layers - gone;
        // As if what is gone had been spread evenly.
        const scale = (left - 1) / (layers - 1);
        // The state runs as far as the last candidate; each one through what is behind it.
        const behind = left - 1 - middle * scale;
        const candidates = open.length - gone;
        seconds += last * scale * each + candidates * (none + behind * each + steps(left - 1));
      }
      return seconds;
    };
    return (
      encoded + sumOf([...languages.entries()], ([i, language]) => ofLanguage(language, tokens[i]!))
    );
  });
}
