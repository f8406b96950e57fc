/** Seconds of greedy decoding, timed on the program's own encoding and prompts. */
import type { Utterance } from '../../data';
import { EncodedSplit, PromptSet } from '../../compress/translate';
import { attachLora, detachLora, setAdapter, type LoraConfig } from '../../lora';
import { Generator } from '../../torch';
import type { Shape } from '../plan-memory';
import { ProbeFeatures, type Layers, type ProbeModel } from './probe-model';
import { lineThrough, nextWork, secondsFor, type Budget, type Line } from './stopwatch';
import { multiplications, promptLoad } from './workload';

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

/** Tokens behind the first with which a token is timed. */
const tokens = 4;

/**
 * Times the parts of decoding.
 * @param frames of the clips of a typical batch
 */
export async function decodingCost(
  probe: ProbeModel,
  {
    shape,
    layers,
    frames,
    lora,
  }: { shape: Shape; layers: Layers; frames: readonly number[]; lora?: LoraConfig },
  allowance: number,
  budget: Budget,
): Promise<DecodingCost> {
  const { model } = probe;
  const window = 2 * shape.audio.maxSourcePositions;
  const features = new ProbeFeatures(probe.processor);
  const adapter = lora && attachLora(model, lora, { generator: new Generator(1) });
  if (adapter !== undefined) setAdapter(model, adapter.name);
  const front = { vocabulary: 0, decoder: 0 };
  const encodeWork = (of: readonly number[], encoder: number): number =>
    multiplications(
      shape,
      { ...promptLoad(of, window), tokens: 0, targets: 0 },
      { ...front, encoder },
    );
  const promptWork = (of: readonly number[], decoder: number): number => {
    const load = { ...promptLoad(of, window), positions: 0 };
    return multiplications(shape, load, {
      encoder: 0,
      decoder,
      vocabulary: probe.layers.vocabulary,
    });
  };
  interface Times {
    encode: Line;
    prompt: Line;
    token: number;
    compiling: number;
    extrapolated: number;
  }
  const run = async (now: readonly number[]): Promise<Parts> => {
    const utterances = now.map((n, i): Utterance => {
      const id = `${i} ${n}`;
      return { id, audio: '', seconds: n / 100, text: '', translations: {} };
    });
    let audio: EncodedSplit | undefined;
    const encode = await budget.time(async () => {
      audio = await EncodedSplit.encode(model, features, utterances, { batchSize: now.length });
    });
    const prompts = new PromptSet(audio!, 'de');
    try {
      const of = (maxNewTokens: number): Promise<number> =>
        budget.time(() => prompts.translate(model, { maxNewTokens }));
      const prompt = await of(1);
      const more = await of(1 + tokens);
      return { encode, prompt, token: Math.max(0, more - prompt) / tokens };
    } finally {
      prompts.dispose();
      audio!.dispose();
    }
  };
  let start: number | undefined;
  const measure = async (of: Layers, share: number): Promise<Times> => {
    probe.only(of);
    const until = budget.used + share;
    const points: ({ frames: number[] } & Parts)[] = [];
    const steps: { work: number; seconds: number }[] = [];
    let compiling = 0;
    const full = encodeWork(frames, of.encoder) + promptWork(frames, of.decoder);
    for (let now = frames.map((n) => Math.min(n, 32)).slice(0, probe.isWhole ? 4 : 3); ;) {
      const before = budget.used;
      // Once for the kernels, which are compiled for each shape.
      const first = await run(now);
      const cost = budget.used - before;
      const again = cost < Math.min(0.3, share / 3);
      const times = again ? await run(now) : first;
      if (again) {
        compiling = Math.max(0, 2 * cost - (budget.used - before));
        start ??= compiling;
      }
      points.push({ frames: now, ...times });
      const work = encodeWork(now, of.encoder) + promptWork(now, of.decoder);
      steps.push({ work, seconds: cost });
      const next = nextWork(steps, full, until - budget.used);
      if (next === undefined) break;
      const part = Math.min(1, next / full);
      const count = Math.max(1, Math.floor(part * frames.length));
      const cut = Math.min(1, (part * frames.length) / count);
      now = frames.slice(-count).map((n) => Math.max(32, Math.round(n * cut)));
      if (encodeWork(now, of.encoder) + promptWork(now, of.decoder) < 1.2 * work) break;
    }
    const last = points.at(-1)!;
    const exact = last.frames.join() === frames.join();
    const line = (work: (of: readonly number[]) => number, key: 'encode' | 'prompt'): Line =>
      exact
        ? { fixed: 0, each: last[key] / work(last.frames) }
        : lineThrough(points.map((p) => ({ work: work(p.frames), seconds: p[key] })));
    const lastWork = encodeWork(last.frames, of.encoder) + promptWork(last.frames, of.decoder);
    return {
      encode: line((f) => encodeWork(f, of.encoder), 'encode'),
      prompt: line((f) => promptWork(f, of.decoder), 'prompt'),
      token: last.token,
      compiling,
      extrapolated: full / lastWork,
    };
  };
  try {
    const full = probe.isWhole ? layers : { encoder: 0, decoder: 0, vocabulary: 0 };
    // Of a whole model the decoder without half of its layers, else with one more.
    const other = probe.isWhole
      ? { ...full, decoder: Math.max(1, Math.floor(full.decoder / 2)) }
      : { ...full, decoder: 1 };
    const a = await measure(full, (probe.isWhole ? 0.5 : 0.15) * allowance);
    const b =
      other.decoder === full.decoder
        ? a
        : await measure(other, (probe.isWhole ? 0.4 : 0.5) * allowance);
    const wide = { ...full, encoder: 1 };
    const c = probe.isWhole ? a : await measure(wide, 0.25 * allowance);
    const slope = (of: (times: Times, decoder: number) => number): [number, number] => {
      const at = of(a, full.decoder);
      const steps = other.decoder - full.decoder;
      const each = steps === 0 ? 0 : (of(b, other.decoder) - at) / steps;
      return [at, Math.max(0, each)];
    };
    const head = (rows: number, each: number): number =>
      probe.isWhole
        ? 0
        : rows * (layers.vocabulary - probe.layers.vocabulary) * shape.text.hiddenSize * each;
    return {
      start: start ?? 0,
      shape: Math.max(a.compiling, b.compiling, c.compiling),
      encode: (of) => {
        const at = secondsFor(a.encode, encodeWork(of, full.encoder));
        if (probe.isWhole) return at;
        const each = secondsFor(c.encode, encodeWork(of, wide.encoder)) - at;
        return at + Math.max(0, each) * (layers.encoder - full.encoder);
      },
      prompt: (of, decoder) => {
        const [at, each] = slope((t, d) => secondsFor(t.prompt, promptWork(of, d)));
        return at + each * (decoder - full.decoder) + head(of.length, b.prompt.each);
      },
      token: (decoder) => {
        const [at, each] = slope((t) => t.token);
        return at + each * (decoder - full.decoder) + head(frames.length, b.prompt.each);
      },
      extrapolated: b.extrapolated * (probe.isWhole ? 1 : layers.decoder),
    };
  } finally {
    if (adapter !== undefined) {
      detachLora(adapter);
      adapter.dispose();
    }
  }
}
