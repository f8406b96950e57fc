/** Seconds of greedy decoding, timed on the program's own encoding and prompts. */
import type { Utterance } from '../../data';
import { EncodedSplit, PromptSet } from '../../compress/translate';
import { attachLora, detachLora, setAdapter, type LoraAdapter, type LoraConfig } from '../../lora';
import { Generator } from '../../torch';
import type { Shape } from '../plan-memory';
import { ProbeFeatures, type Layers, type ProbeModel } from './probe-model';
import { lineThrough, nextWork, secondsFor, type Budget, type Line } from './stopwatch';
import { encodeWork, promptWork } from '../workload';

/** What of a batch takes how long, in seconds of the processors. */
export interface DecodingCost {
  /** The audio of clips with so many frames each. */
  encode(frames: readonly number[]): number;
  /** Their prompts through so many decoder layers, and the first token. */
  prompt(frames: readonly number[], decoderLayers: number): number;
  /** A further token of each row. */
  token(decoderLayers: number): number;
  /** Beside all work: code and kernels that are compiled when they are first used. */
  start: number;
  /** The same for a batch in a language: its shapes come first. */
  shape: number;
  /** Of the work of a whole batch, by what of it was timed. */
  extrapolated: number;
}

/** Seconds of the parts of a batch. */
interface Parts {
  encode: number;
  prompt: number;
  token: number;
}

/** A part of a batch, its multiplications, and the seconds of its first run. */
interface Point extends Parts {
  frames: readonly number[];
  work: number;
  seconds: number;
}

/** Tokens behind the first with which a token is timed. */
const tokens = 8;

/** What decodes. */
export interface DecodingTrial {
  shape: Shape;
  layers: Layers;
  /** Of the clips of a typical batch. */
  frames: readonly number[];
  lora?: LoraConfig;
  /** Whether costs of fewer decoder layers are asked for. */
  isPruned?: boolean;
}

/** What one measurement says of a model with so many layers. */
interface Times {
  encode: Line;
  prompt: Line;
  token: number;
  /** Beside its work, of a batch whose shapes come first. */
  compiling: number;
  points: Point[];
  /** The work of a whole batch, by that of the largest part. */
  extrapolated: number;
}

/** Times the parts of decoding. */
export async function decodingCost(
  probe: ProbeModel,
  trial: DecodingTrial,
  allowance: number,
  budget: Budget,
): Promise<DecodingCost> {
  using timer = new DecodingTimer(probe, trial, budget);
  return await (probe.isWhole ? timer.ofWhole(allowance) : timer.ofLayers(allowance));
}

class DecodingTimer {
  readonly #features: ProbeFeatures;
  readonly #adapter: LoraAdapter | undefined;
  /** What the first run took beside its work. */
  #start: number | undefined;

  constructor(
    readonly probe: ProbeModel,
    readonly trial: DecodingTrial,
    readonly budget: Budget,
  ) {
    const { lora } = trial;
    this.#features = new ProbeFeatures(probe.processor);
    this.#adapter = lora && attachLora(probe.model, lora, { generator: new Generator(1) });
    if (this.#adapter !== undefined) setAdapter(probe.model, this.#adapter.name);
  }

  /** What all layers take, and what one of them has of it. */
  async ofWhole(allowance: number): Promise<DecodingCost> {
    const { layers, isPruned } = this.trial;
    const all = await this.#measure(layers, (isPruned ? 0.75 : 0.95) * allowance);
    const each = isPruned ? await this.#shareOfLayer(all, 0.25 * allowance) : undefined;
    const left = (key: 'prompt' | 'token', decoder: number): number =>
      1 - (each?.[key] ?? 1 / layers.decoder) * (layers.decoder - decoder);
    return {
      ...{ start: this.#start ?? 0, shape: all.compiling, extrapolated: all.extrapolated },
      encode: (of) => secondsFor(all.encode, this.#encodeWork(of, layers.encoder)),
      prompt: (of, decoder) =>
        secondsFor(all.prompt, this.#promptWork(of, layers.decoder)) * left('prompt', decoder),
      token: (decoder) => all.token * left('token', decoder),
    };
  }

  /** One layer of each kind stands for all. */
  async ofLayers(allowance: number): Promise<DecodingCost> {
    const { layers, frames, shape } = this.trial;
    const no = { encoder: 0, decoder: 0, vocabulary: 0 };
    const none = await this.#measure(no, 0.15 * allowance);
    const decoder = await this.#measure({ ...no, decoder: 1 }, 0.5 * allowance);
    const encoder = await this.#measure({ ...no, encoder: 1 }, 0.25 * allowance);
    const head = (rows: number): number =>
      rows *
      (layers.vocabulary - this.probe.layers.vocabulary) *
      shape.text.hiddenSize *
      decoder.prompt.each;
    const of = (nothing: number, one: number, count: number): number =>
      nothing + Math.max(0, one - nothing) * count;
    return {
      start: this.#start ?? 0,
      shape: Math.max(none.compiling, decoder.compiling, encoder.compiling),
      extrapolated: decoder.extrapolated * layers.decoder,
      encode: (clips) => {
        const [nothing, one] = [this.#encodeWork(clips, 0), this.#encodeWork(clips, 1)];
        const seconds = secondsFor(none.encode, nothing);
        return of(seconds, secondsFor(encoder.encode, one), layers.encoder);
      },
      prompt: (clips, count) => {
        const [nothing, one] = [this.#promptWork(clips, 0), this.#promptWork(clips, 1)];
        const seconds = secondsFor(none.prompt, nothing);
        return of(seconds, secondsFor(decoder.prompt, one), count) + head(clips.length);
      },
      token: (count) => of(none.token, decoder.token, count) + head(frames.length),
    };
  }

  [Symbol.dispose](): void {
    if (this.#adapter === undefined) return;
    detachLora(this.#adapter);
    this.#adapter.dispose();
  }

  #encodeWork(of: readonly number[], encoder: number): number {
    return encodeWork(this.trial.shape, of, encoder);
  }

  #promptWork(of: readonly number[], decoder: number): number {
    const { vocabulary } = this.probe.layers;
    return promptWork(this.trial.shape, of, { decoder, vocabulary });
  }

  async #run(frames: readonly number[]): Promise<Parts> {
    const { model } = this.probe;
    const utterances = frames.map((n, i): Utterance => {
      const id = `${i} ${n}`;
      return { id, audio: '', seconds: n / 100, text: '', translations: {} };
    });
    let audio: EncodedSplit | undefined;
    const encode = await this.budget.time(async () => {
      const batchSize = frames.length;
      audio = await EncodedSplit.encode(model, this.#features, utterances, { batchSize });
    });
    const prompts = new PromptSet(audio!, 'de');
    try {
      const of = (maxNewTokens: number): Promise<number> =>
        this.budget.time(() => prompts.translate(model, { maxNewTokens }));
      const prompt = await of(1);
      const more = await of(1 + tokens);
      return { encode, prompt, token: Math.max(0, more - prompt) / tokens };
    } finally {
      prompts.dispose();
      audio!.dispose();
    }
  }

  /** Times larger and larger parts of a batch, as far as the share goes. */
  async #measure(layers: Layers, share: number): Promise<Times> {
    const { probe, budget } = this;
    const { frames } = this.trial;
    probe.only(layers);
    const until = budget.used + share;
    const points: Point[] = [];
    let compiling = 0;
    const workOf = (of: readonly number[]): number =>
      this.#encodeWork(of, layers.encoder) + this.#promptWork(of, layers.decoder);
    const full = workOf(frames);
    for (let now = frames.map((n) => Math.min(n, 32)).slice(0, probe.isWhole ? 4 : 3); ;) {
      const before = budget.used;
      // Once for the kernels, which are compiled for each shape.
      const first = await this.#run(now);
      const seconds = budget.used - before;
      const again = seconds < Math.min(0.2, share / 3);
      const times = again ? await this.#run(now) : first;
      if (again) {
        compiling = Math.max(0, 2 * seconds - (budget.used - before));
        this.#start ??= compiling;
      }
      const work = workOf(now);
      points.push({ frames: now, work, seconds, ...times });
      const next = nextWork(points, full, until - budget.used);
      if (next === undefined) break;
      const part = Math.min(1, next / full);
      const count = Math.max(1, Math.floor(part * frames.length));
      const cut = Math.min(1, (part * frames.length) / count);
      now = frames.slice(-count).map((n) => Math.max(32, Math.round(n * cut)));
      if (workOf(now) < 1.2 * work) break;
    }
    const last = points.at(-1)!;
    const exact = last.frames.join() === frames.join();
    const line = (key: 'encode' | 'prompt', of: (frames: readonly number[]) => number): Line =>
      exact
        ? { fixed: 0, each: last[key] / of(last.frames) }
        : lineThrough(points.map((p) => ({ work: of(p.frames), seconds: p[key] })));
    return {
      encode: line('encode', (of) => this.#encodeWork(of, layers.encoder)),
      prompt: line('prompt', (of) => this.#promptWork(of, layers.decoder)),
      ...{ token: last.token, compiling, points, extrapolated: full / last.work },
    };
  }

  /**
   * What part of a prompt and of a token a decoder layer has, from the largest part of a batch that the
   * share lets be tried again without a half of the layers.
   */
  async #shareOfLayer({ points }: Times, share: number): Promise<Pick<Parts, 'prompt' | 'token'>> {
    const { layers } = this.trial;
    // More than its part of all of them it cannot be.
    const most = 1 / layers.decoder;
    const fewer = Math.floor(layers.decoder / 2);
    if (fewer === 0) return { prompt: most, token: most };
    this.probe.only({ ...layers, decoder: fewer });
    const affordable = points.filter(({ seconds }) => 2 * seconds < share);
    const all = affordable.at(-1) ?? points[0]!;
    await this.#run(all.frames);
    const some = await this.#run(all.frames);
    const of = (key: 'prompt' | 'token'): number => {
      if (!(all[key] > 0)) return most;
      const each = (1 - some[key] / all[key]) / (layers.decoder - fewer);
      return Math.min(most, Math.max(0, each));
    };
    return { prompt: of('prompt'), token: of('token') };
  }
}
