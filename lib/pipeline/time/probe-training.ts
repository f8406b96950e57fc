/** Seconds of a training step, timed on the program's own task, loss, backward and optimiser. */
import { attachLora, detachLora, setAdapter, type LoraConfig } from '../../lora';
import { backward, Generator, optim, scope, type Tensor } from '../../torch';
import { zeroGrad } from '../../torch/autograd';
import { CtcHead, TranslationTask } from '../../train/translation';
import type { TrainingSettings } from '../recipe-schema';
import type { Shape } from '../plan-memory';
import { ProbeFeatures, type Layers, type ProbeModel } from './probe-model';
import { lineThrough, nextWork, secondsFor, type Budget, type Line } from './stopwatch';
import { multiplications, trainingLoad, type Clip } from '../workload';

/** Settings of a stage that trains. */
export type Settings = TrainingSettings & {
  lora?: LoraConfig;
  ctcWeight?: number;
};

/** A step of a stage, to be timed. */
export interface Step {
  shape: Shape;
  layers: Layers;
  /** By micro-batch. */
  microBatches: readonly (readonly Clip[])[];
  /** Parameters that are trained, of the whole model. */
  trained: number;
  languages: readonly string[];
  settings: Settings;
  /** Learns from the CTC loss alone. */
  ctcOnly?: boolean;
}

/** Elements of parameters with which an optimiser is timed. */
const optimized = 16e6;

/** A short step is timed so often at the most. */
const mostTimes = 20;

/** Seconds of the processors that a step takes, and what else a stage takes beside its steps. */
export interface StepCost {
  /** A step whose kernels are compiled. */
  seconds: number;
  /** Until the first step runs as fast as others. */
  start: number;
  /** For a micro-batch of a shape that comes first: its kernels are compiled. */
  shape: number;
  extrapolated: number;
}

/** What a step costs, from what `allowance` seconds of the processors let be tried. */
export async function stepSeconds(
  probe: ProbeModel,
  step: Step,
  allowance: number,
  budget: Budget,
): Promise<StepCost> {
  const { shape, layers, microBatches, trained, settings } = step;
  const window = 2 * shape.audio.maxSourcePositions;
  const lines = await linesOf(probe, step, allowance, budget);
  const { vocabulary } = probe.layers;
  let seconds = 0;
  for (const clips of microBatches) {
    const load = trainingLoad(clips, window);
    const of = (part: Part): number => {
      const { line, layers: timed } = lines.parts[part]!;
      return secondsFor(line, multiplications(shape, load, timed));
    };
    if (probe.isWhole) {
      seconds += of('whole');
      continue;
    }
    const none = of('none');
    // What lm_head has more rows of, at the pace of all else.
    const head = load.targets * shape.text.hiddenSize * (layers.vocabulary - vocabulary);
    seconds +=
      none +
      layers.encoder * Math.max(0, of('encoder') - none) +
      layers.decoder * Math.max(0, of('decoder') - none) +
      Math.max(0, head) * lines.parts.decoder!.line.each;
  }
  const sums = microBatches.length > 1 && settings.weights === 'bfloat16' ? 1.5 : 1;
  const { update, moments, start, compiling } = lines;
  const of = (probe.isWhole ? lines.parts.whole : lines.parts.decoder)!;
  const extrapolated = of.extrapolated * (probe.isWhole ? 1 : layers.decoder);
  return {
    ...{ seconds: seconds + sums * trained * update, start: start + trained * moments },
    ...{ shape: compiling, extrapolated },
  };
}

/** Of a large model, what has no layers, and what has one of a kind. */
type Part = 'whole' | 'none' | 'encoder' | 'decoder';

interface Lines {
  parts: Partial<Record<Part, { line: Line; layers: Layers; extrapolated: number }>>;
  /** Seconds for a parameter's part of the optimiser's step. */
  update: number;
  /** Seconds until its moments are there. */
  moments: number;
  start: number;
  compiling: number;
}

/** What was timed of a large model, by the settings: stages with the same ones share it. */
const known = new WeakMap<ProbeModel, Map<string, Lines>>();

async function linesOf(
  probe: ProbeModel,
  step: Step,
  allowance: number,
  budget: Budget,
): Promise<Lines> {
  const { layers, settings, ctcOnly } = step;
  const { bf16, gradientCheckpointing, optimizer, lora, ctcWeight, maxGradNorm } = settings;
  const mode = { bf16, gradientCheckpointing, optimizer, lora, ctcWeight, maxGradNorm, ctcOnly };
  const key = JSON.stringify(probe.isWhole ? [mode, step] : mode);
  const all = known.get(probe) ?? new Map<string, Lines>();
  known.set(probe, all);
  const found = all.get(key);
  if (found !== undefined) return found;
  using trainer = new Trainer(probe, step, budget);
  const { vocabulary } = probe.layers;
  const parts: Lines['parts'] = {};
  if (probe.isWhole) {
    const of = { ...layers, vocabulary };
    parts.whole = { ...(await measure(trainer, of, 0.8 * allowance)), layers: of };
  } else {
    const none = { encoder: 0, decoder: 0, vocabulary };
    const of = { none, encoder: { ...none, encoder: 1 }, decoder: { ...none, decoder: 1 } };
    // Most of such a model is its decoder.
    const shares = { none: 0.1, encoder: 0.25, decoder: 0.55 };
    for (const part of ['none', 'encoder', 'decoder'] as const) {
      const share = shares[part] * allowance;
      parts[part] = { ...(await measure(trainer, of[part], share)), layers: of[part] };
    }
  }
  const { start, compiling } = trainer;
  const lines = { parts, ...(await trainer.timeUpdate()), start, compiling };
  all.set(key, lines);
  return lines;
}

/** Times larger and larger parts of a micro-batch, as far as the share goes. */
async function measure(
  trainer: Trainer,
  layers: Layers,
  share: number,
): Promise<{ line: Line; extrapolated: number }> {
  const { probe, budget } = trainer;
  const { shape, microBatches } = trainer.step;
  const workOf = (clips: readonly Clip[]): number =>
    multiplications(shape, trainingLoad(clips, 2 * shape.audio.maxSourcePositions), layers);
  probe.only(layers);
  const until = budget.used + share;
  const largest = microBatches[0]!;
  const full = workOf(largest);
  const points: { work: number; seconds: number }[] = [];
  for (let clips = smallest(largest, 32); ;) {
    const work = workOf(clips);
    let seconds = await trainer.time(clips, until);
    // More at a time is not slower for each: something else held it up, and it is tried again.
    const before = points.at(-1);
    if (before !== undefined && seconds / work > 1.1 * (before.seconds / before.work)) {
      seconds = Math.min(seconds, await trainer.time(clips, 0));
    }
    points.push({ work, seconds });
    const next = nextWork(points, full, until - budget.used);
    if (next === undefined) break;
    clips = reduced(largest, next / full);
    if (workOf(clips) < 1.2 * work) break;
  }
  const last = points.at(-1)!;
  const exact = last.work >= 0.99 * full;
  const line = exact ? { fixed: 0, each: last.seconds / last.work } : lineThrough(points);
  return { line, extrapolated: full / last.work };
}

/** The first clip, or a piece of it where the whole is long. */
function smallest(clips: readonly Clip[], frames: number): Clip[] {
  const [{ frames: all, targets }] = clips as [Clip, ...Clip[]];
  const least = Math.ceil(frames / 8);
  return [{ frames: Math.min(all, frames), targets: targets.map((n) => Math.min(n, least)) }];
}

/** So large a part of a micro-batch: fewer clips, or a part of one. */
function reduced(clips: readonly Clip[], part: number): Clip[] {
  // Rather one too many: points that are too near to each other make no line.
  const count = Math.ceil(part * clips.length);
  // The last ones: a batch is sorted by length, and padded to the longest.
  if (part * clips.length >= 1) return clips.slice(-count);
  const [{ frames, targets }] = clips.slice(-1) as [Clip];
  const of = (all: number, least: number): number =>
    Math.min(all, Math.max(least, Math.round(all * part * clips.length)));
  return [{ frames: of(frames, 32), targets: targets.map((n) => of(n, 4)) }];
}

class Trainer {
  readonly #features: ProbeFeatures;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #ctc: CtcHead | undefined;
  readonly #end: () => void;
  /** What the first run took beside its work: code and kernels that are compiled. */
  start: number = 0;
  /** The same for the last shape that was tried twice. */
  compiling: number = 0;

  constructor(
    readonly probe: ProbeModel,
    readonly step: Step,
    readonly budget: Budget,
  ) {
    const { model, processor } = probe;
    const { settings } = step;
    this.#features = new ProbeFeatures(processor);
    const generator = new Generator(1);
    if (settings.lora === undefined) {
      this.#parameters = new Map(model.requiresGrad(true).namedParameters());
      this.#end = () => model.requiresGrad(false);
    } else {
      const adapter = attachLora(model, settings.lora, { generator });
      setAdapter(model, adapter.name);
      this.#parameters = adapter.parameters();
      this.#end = () => {
        detachLora(adapter);
        adapter.dispose();
      };
    }
    const { audio, text } = model.config;
    if ((settings.ctcWeight ?? 0) > 0) {
      this.#ctc = new CtcHead(audio.dModel, text.vocabSize, generator, model.dtype);
      this.#ctc.requiresGrad(true);
    }
    model.train();
    model.gradientCheckpointing = settings.gradientCheckpointing ?? false;
  }

  /**
   * Seconds of the processors for a micro-batch, forward and backward.
   * @param until what the budget has used when no more is to be tried
   */
  async time(clips: readonly Clip[], until: number): Promise<number> {
    const { settings, languages, ctcOnly } = this.step;
    const { model } = this.probe;
    const items = this.probe.items(clips, languages);
    const options = {
      ...{ ...settings, batchSize: clips.length, microBatchSize: clips.length, seed: 1 },
      ...{ transcribeRate: 1, ctcSteps: ctcOnly ? 1 : 0 },
    };
    const lengths = clips.map(({ frames }) => frames);
    const task = new TranslationTask(items, this.#features, model, options, this.#ctc, lengths);
    const run = (): void =>
      scope(() => {
        for (const micro of task.microBatches(0)) backward(task.loss(micro, 0).loss);
      });
    // Texts and features are made when they are asked for first.
    scope(() => [...task.microBatches(0)]);
    // Gradients of several micro-batches are added up: all but the first find some.
    const addsUp = this.step.microBatches.length > 1;
    const timed = async (count: number): Promise<number> => {
      const all = await this.budget.time(() => {
        for (let i = 0; i < count; i++) {
          run();
          if (!addsUp) this.#forgetGradients();
        }
      });
      return all / count;
    };
    const first = await timed(1);
    let seconds = first;
    const left = (): number => until - this.budget.used;
    if (first < left()) {
      seconds = await timed(1);
      // What is short is done many times, as it is in a stage: now and then there is rubbish to collect.
      const more = Math.min(mostTimes, Math.floor((0.2 * left()) / seconds));
      if (more > 2 && seconds < 0.1) seconds = await timed(more);
      this.compiling = Math.max(0, first - seconds);
      this.start ||= this.compiling;
    }
    this.#forgetGradients();
    return seconds;
  }

  /** Seconds of the processors for a parameter's part of clipping and of the optimiser's step. */
  async timeUpdate(): Promise<Pick<Lines, 'update' | 'moments'>> {
    const some = new Map<string, Tensor>();
    let count = 0;
    for (const [name, parameter] of this.#parameters) {
      if (some.size > 0 && count + parameter.numel > optimized) continue;
      some.set(name, parameter);
      count += parameter.numel;
    }
    const Optimizer = this.step.settings.optimizer === 'adamw8bit' ? optim.AdamW8bit : optim.AdamW;
    const { weights, rounding } = this.step.settings;
    const rounds = weights === 'bfloat16' && rounding !== 'nearest';
    let optimizer!: optim.Optimizer;
    const made = await this.budget.time(() => {
      optimizer = new Optimizer([{ parameters: some, weightDecay: 0 }], {
        roundingSeed: rounds ? 1 : undefined,
      });
    });
    try {
      const run = (): void =>
        scope(() => {
          optim.clipGradNorm(optimizer.parameters, this.step.settings.maxGradNorm || Infinity);
          optimizer.step(0);
        });
      scope(() => {
        for (const parameter of optimizer.parameters)
          backward(parameter.to('float32').mul(1e-3).sum());
      });
      // Moments have memory of their own from the first step on, in which they are first written.
      const first = await this.budget.time(run);
      const seconds = await this.budget.time(run);
      const moments = made + Math.max(0, first - seconds);
      return { update: seconds / count, moments: moments / count };
    } finally {
      this.#forgetGradients();
      optimizer.dispose();
    }
  }

  #forgetGradients(): void {
    zeroGrad([...this.#parameters.values(), ...(this.#ctc?.parameters() ?? [])]);
  }

  [Symbol.dispose](): void {
    const { model } = this.probe;
    model.eval();
    model.gradientCheckpointing = false;
    this.#forgetGradients();
    this.#ctc?.dispose();
    this.#end();
  }
}
