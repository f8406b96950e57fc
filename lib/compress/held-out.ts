/** How well a model predicts references that it was not trained on, without generating. */
import { setImmediate } from 'node:timers/promises';
import { readingOrder, type Utterance } from '../data';
import { audioTokenCount, collate, type Example, type Qwen2Audio } from '../qwen2-audio';
import { functional as F, noGrad, scope } from '../torch';
import { instructionOf, type Features } from '../train/examples';
import { references } from './evaluate';

/** How many utterances at a time, and who hears of the progress. */
export interface HeldOutOptions {
  /** Utterances heard together, 8 by default; each is asked for all languages at once. */
  batchSize?: number;
  signal?: AbortSignal;
  /** Hears of the utterances that are done. */
  onProgress?: (done: number, total: number) => void;
}

/** What a model makes of reference translations that it is shown token by token. */
export interface HeldOut {
  /** Mean negative log-likelihood of a reference token, in nats; the end token counts. */
  loss: number;
  tokens: number;
  /** The most likely token at each reference token, given the reference before it. */
  predictions: Int32Array;
}

/** Rows whose logits are held together: 160 MB with Qwen2-Audio's vocabulary. */
const chunk = 256;

/**
 * Loss and predictions on the references of a split in every language. The order of the tokens
 * depends on utterances, languages and batch size alone, so the predictions of two models compare
 * one by one (see {@link agreement}).
 * @throws CompressionError for a language without references, FileError and AudioError for the audio
 */
export async function heldOutLoss(
  model: Qwen2Audio,
  features: Features,
  utterances: readonly Utterance[],
  languages: readonly string[],
  options: HeldOutOptions = {},
): Promise<HeldOut> {
  const { batchSize = 8, signal, onProgress } = options;
  const targets = languages.map((language) => references(utterances, language));
  const frames = await features.lengths(utterances);
  const examplesOf = (row: number): Example[] => {
    const mel = features.get(utterances[row]!);
    return languages.map((language, i) => {
      const prompt = { instruction: instructionOf(language), target: targets[i]![row]! };
      return { ...features.processor.tokenize(prompt, audioTokenCount(mel.frames)), mel };
    });
  };
  // Neighbours in length share a batch, so that little is padded.
  const order = readingOrder(features.corpus, utterances, frames);
  let loss = 0;
  const predictions: number[] = [];
  onProgress?.(0, order.length);
  for (let at = 0; at < order.length; at += batchSize) {
    await setImmediate();
    signal?.throwIfAborted();
    const rows = order.slice(at, at + batchSize);
    await features.load(
      rows.map((row) => utterances[row]!),
      { quiet: true },
    );
    const examples = rows.flatMap(examplesOf);
    loss += scope(() => noGrad(() => lossOf(model, examples, predictions)));
    onProgress?.(Math.min(at + batchSize, order.length), order.length);
  }
  const tokens = predictions.length;
  return { loss: loss / tokens, tokens, predictions: Int32Array.from(predictions) };
}

/** The summed loss of a batch; its predictions are appended. */
function lossOf(model: Qwen2Audio, examples: readonly Example[], predictions: number[]): number {
  const batch = collate(model, examples, 'right', { shareRows: true });
  const { states, targets } = model.targetStates(batch);
  let sum = 0;
  for (let at = 0; at < targets.count; at += chunk) {
    const count = Math.min(chunk, targets.count - at);
    sum += scope(() => {
      const hidden = states.narrow(0, at, count);
      const logits = model.languageModel.lmHead.forward(hidden).to('float32');
      const ids = targets.ids.narrow(0, at, count).unsqueeze(-1);
      predictions.push(...logits.argmax(-1).toArray());
      return -F.logSoftmax(logits).gather(1, ids).sum().item();
    });
  }
  return sum;
}

/** The share, 0 to 1, of tokens that two models predict alike. */
export function agreement(a: HeldOut, b: HeldOut): number {
  const same = a.predictions.reduce((count, id, i) => count + (id === b.predictions[i] ? 1 : 0), 0);
  return same / a.tokens;
}
