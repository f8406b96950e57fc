/** Translating whole splits, the audio encoded once however many models listen. */
import { setImmediate } from 'node:timers/promises';
import { readingOrder, type Utterance } from '../data';
import {
  audioTokenCount,
  collate,
  encodeAudio,
  generate,
  type Batch,
  type PromptState,
  type Qwen2Audio,
} from '../qwen2-audio';
import { shareWork, type Ranks } from '../ranks';
import { keep, scope, type Tensor } from '../torch';
import { instructionOf, type Features, type Task } from '../train/examples';

/** How long a translation may be, and how many are made at a time. */
export interface TranslateOptions {
  maxNewTokens: number;
  /** Rows decoded together. */
  batchSize: number;
  signal?: AbortSignal;
  /** Batches are handed out to them; each has all translations in the end. */
  ranks?: Ranks;
  /** Hears of the utterances that are done. */
  onProgress?: (done: number, total: number) => void;
}

/** A split in one target language, with what it took. */
export interface TranslatedSplit {
  /** One an utterance, in the order given. */
  texts: string[];
  tokenIds: number[][];
  /** Wall time of prefill and decoding, audio encoding apart. */
  seconds: number;
  generatedTokens: number;
  /** Rows that ended before `maxNewTokens`. */
  finished: boolean[];
}

/**
 * A split's audio, encoded once in batches of similar length. Prompts of any task and models that
 * share tower and projector, which pruning leaves alone, use it.
 */
export class EncodedSplit {
  /** Indices of the batch's utterances, and their features [sum of audio tokens, hidden]. */
  readonly batches: { rows: number[]; audioFeatures: Tensor }[] = [];

  private constructor(
    readonly model: Qwen2Audio,
    readonly features: Features,
    readonly utterances: readonly Utterance[],
  ) {}

  /** Yields to the event loop between batches; leaves nothing behind when it is aborted. */
  static async encode(
    model: Qwen2Audio,
    features: Features,
    utterances: readonly Utterance[],
    { batchSize, signal }: { batchSize: number; signal?: AbortSignal },
  ): Promise<EncodedSplit> {
    const split = new EncodedSplit(model, features, utterances);
    const lengths = utterances.map((utterance) => features.get(utterance).frames);
    // Neighbours in length share a batch, so that little is padded.
    const order = [...lengths.keys()].sort((a, b) => lengths[a]! - lengths[b]!);
    try {
      for (let at = 0; at < order.length; at += batchSize) {
        await setImmediate();
        signal?.throwIfAborted();
        const rows = order.slice(at, at + batchSize);
        const features = scope(() => encodeAudio(model, split.collate(rows, undefined, 'left')));
        split.batches.push({ rows, audioFeatures: keep(features) });
      }
      return split;
    } catch (error) {
      split.dispose();
      throw error;
    }
  }

  /** The batch of `rows` with a prompt each, and the answers to learn, if there are any. */
  collate(
    rows: readonly number[],
    prompt: { instruction: string; targets?: readonly string[] } | undefined,
    padding: 'left' | 'right',
  ): Batch {
    const { processor } = this.features;
    const examples = rows.map((row) => {
      const mel = this.features.get(this.utterances[row]!);
      if (prompt === undefined) return { inputIds: [], mel };
      const { instruction, targets } = prompt;
      const asked = { instruction, target: targets?.[row] };
      return { ...processor.tokenize(asked, audioTokenCount(mel.frames)), mel };
    });
    return collate(this.model, examples, padding);
  }

  dispose(): void {
    for (const { audioFeatures } of this.batches) audioFeatures.dispose();
    this.batches.length = 0;
  }
}

/** A split prepared for one task: its audio, and batches of prompts. */
export class PromptSet {
  readonly batches: { rows: number[]; batch: Batch; audioFeatures: Tensor }[] = [];

  /** @param audio is used, not owned: it may serve other sets, and outlives this one */
  constructor(
    readonly audio: EncodedSplit,
    readonly task: Task,
  ) {
    for (const { rows, audioFeatures } of audio.batches) {
      const batch = scope(() => {
        const made = audio.collate(rows, { instruction: instructionOf(task) }, 'left');
        keep(made.inputIds);
        return made;
      });
      this.batches.push({ rows, batch, audioFeatures });
    }
  }

  /**
   * Greedy translations by `model`, whose audio tower is the one that the set was made with.
   * @param states of the batches, where some of the model's layers have read them already
   */
  async translate(
    model: Qwen2Audio,
    options: Omit<TranslateOptions, 'batchSize'>,
    states: readonly (PromptState | undefined)[] = [],
  ): Promise<TranslatedSplit> {
    const total = this.audio.utterances.length;
    const tokenIds = new Array<number[]>(total);
    const started = performance.now();
    let done = 0;
    for (const [i, { rows, batch, audioFeatures }] of this.batches.entries()) {
      const { maxNewTokens, signal } = options;
      const known = { audioFeatures, promptState: states[i] };
      const ids = await generate(model, batch, { maxNewTokens, signal, ...known });
      for (const [i, row] of rows.entries()) tokenIds[row] = ids[i]!;
      done += rows.length;
      options.onProgress?.(done, total);
    }
    const seconds = (performance.now() - started) / 1000;
    const { tokenizer } = this.audio.features.processor;
    const { eosTokenIds } = model.config;
    return {
      texts: tokenIds.map((ids) => tokenizer.decode(ids, { skipSpecialTokens: true }).trim()),
      tokenIds,
      seconds,
      generatedTokens: tokenIds.reduce((sum, ids) => sum + ids.length, 0),
      finished: tokenIds.map((ids) => eosTokenIds.includes(ids.at(-1) ?? -1)),
    };
  }

  dispose(): void {
    for (const { batch } of this.batches) batch.inputIds.dispose();
    this.batches.length = 0;
  }
}

/** Batches that are encoded before any of them is decoded. */
const batchesAhead = 8;

/** Translates utterances with one model, some batches at a time, so that memory stays bounded. */
export async function translateSplit(
  model: Qwen2Audio,
  features: Features,
  utterances: readonly Utterance[],
  task: Task,
  options: TranslateOptions,
): Promise<TranslatedSplit> {
  const frames = await features.lengths(utterances);
  const { batchSize, onProgress, ranks, signal } = options;
  const total = utterances.length;
  onProgress?.(0, total);
  let order = readingOrder(features.corpus, utterances, frames);
  const result: TranslatedSplit = {
    texts: new Array<string>(total),
    tokenIds: new Array<number[]>(total),
    finished: new Array<boolean>(total),
    seconds: 0,
    generatedTokens: 0,
  };
  const rowsAhead = batchesAhead * batchSize;
  // Ranks take a batch at a time, so that none waits long for the last one: of the very batches that
  // one process makes.
  const rowsAtOnce = ranks === undefined ? rowsAhead : batchSize;
  if (ranks !== undefined) order = sortedInParts(order, rowsAhead, frames);
  const rowsOf = (item: number): number[] =>
    order.slice(item * rowsAtOnce, (item + 1) * rowsAtOnce);
  let done = 0;
  const translatePart = async (item: number): Promise<TranslatedSplit> => {
    const part = rowsOf(item).map((row) => utterances[row]!);
    await features.load(part, { quiet: true });
    const audio = await EncodedSplit.encode(model, features, part, { batchSize, signal });
    let prompts: PromptSet | undefined;
    try {
      prompts = new PromptSet(audio, task);
      const inPart = (rows: number): void => onProgress?.(done + rows, total);
      const own = ranks === undefined ? inPart : undefined;
      return await prompts.translate(model, { ...options, onProgress: own });
    } finally {
      prompts?.dispose();
      audio.dispose();
    }
  };
  const onResult = (item: number, part: TranslatedSplit): void => {
    const rows = rowsOf(item);
    for (const [i, row] of rows.entries()) {
      result.texts[row] = part.texts[i]!;
      result.tokenIds[row] = part.tokenIds[i]!;
      result.finished[row] = part.finished[i]!;
    }
    result.seconds += part.seconds;
    result.generatedTokens += part.generatedTokens;
    done += rows.length;
    if (ranks !== undefined) onProgress?.(done, total);
  };
  const items = Math.ceil(total / rowsAtOnce);
  await shareWork(ranks, items, translatePart, { onResult, signal });
  return result;
}

/** Each part by length, as an {@link EncodedSplit} of it would have it. */
function sortedInParts(
  order: readonly number[],
  size: number,
  frames: readonly number[],
): number[] {
  const parts: number[][] = [];
  for (let at = 0; at < order.length; at += size) parts.push(order.slice(at, at + size));
  return parts.flatMap((part) => part.sort((a, b) => frames[a]! - frames[b]!));
}
