/** Seconds of a training step, timed on the program's own task, loss, backward and optimiser. */
import { attachLora, detachLora, setAdapter, type LoraConfig } from '../../lora';
import { backward, Generator, optim, scope, type Tensor } from '../../torch';
import { zeroGrad } from '../../torch/autograd';
import { CtcHead, TranslationTask } from '../../train/translation';
import type { TrainingSettings } from '../recipe-schema';
import type { Shape } from '../plan-memory';
import { ProbeFeatures, type Layers, type ProbeModel } from './probe-model';
import { lineThrough, nextWork, secondsFor, type Budget, type Line } from './stopwatch';
import { multiplications, trainingLoad, type Clip } from './workload';

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

/**
 * Seconds of the processors that a step takes, and those that a stage takes until its first step runs
 * as fast as others, from what `allowance` of them lets be tried.
 */
export async function stepSeconds(
  probe: ProbeModel,
  step: Step,
  allowance: number,
  budget: Budget,
): Promise<{ seconds: number; start: number; extrapolated: number }> {
  using trainer = new Trainer(probe, step, budget);
  const { shape, layers, microBatches, trained, settings } = step;
  const window = 2 * shape.audio.maxSourcePositions;
  const workOf = (clips: readonly Clip[], of: Layers): number =>
    multiplications(shape, trainingLoad(clips, window), of);
  const largest = microBatches[0]!;
  const measure = async (
    of: Layers,
    share: number,
  ): Promise<{ line: Line; extrapolated: number }> => {
    probe.only(of);
    const until = budget.used + share;
    const points: { work: number; seconds: number }[] = [];
    const full = workOf(largest, of);
    for (let clips = smallest(largest); ;) {
      const seconds = await trainer.time(clips);
      const work = workOf(clips, of);
      points.push({ work, seconds });
      const next = nextWork(points, full, until - budget.used);
      if (next === undefined) break;
      clips = reduced(largest, next / full);
      if (workOf(clips, of) < 1.2 * work) break;
    }
    const last = points.at(-1)!;
    const exact = last.work >= 0.99 * full;
    const line = exact ? { fixed: 0, each: last.seconds / last.work } : lineThrough(points);
    return { line, extrapolated: full / last.work };
  };
  const total = (line: Line, of: Layers): number =>
    microBatches.reduce((sum, clips) => sum + secondsFor(line, workOf(clips, of)), 0);
  let seconds: number;
  let extrapolated: number;
  if (probe.isWhole) {
    const of = { ...layers, vocabulary: probe.layers.vocabulary };
    const { line, ...more } = await measure(of, 0.8 * allowance);
    ({ extrapolated } = more);
    seconds = total(line, of);
  } else {
    const { vocabulary } = probe.layers;
    const one = { encoder: 1, decoder: 1, vocabulary };
    const base = await measure(one, 0.3 * allowance);
    const more = { ...one, encoder: 2 };
    const deeper = { ...one, decoder: 2 };
    const first = total(base.line, one);
    const encoder = total((await measure(more, 0.25 * allowance)).line, more) - first;
    const decoder = total((await measure(deeper, 0.25 * allowance)).line, deeper) - first;
    // What lm_head has more rows of, at the pace of all else.
    const head = microBatches
      .map((clips) => trainingLoad(clips, window).targets * shape.text.hiddenSize)
      .reduce((sum, each) => sum + each * (layers.vocabulary - vocabulary) * base.line.each, 0);
    extrapolated = base.extrapolated * layers.decoder;
    seconds =
      first +
      Math.max(0, encoder) * (layers.encoder - 1) +
      Math.max(0, decoder) * (layers.decoder - 1) +
      Math.max(0, head);
  }
  const update = await trainer.timeUpdate();
  const sums = microBatches.length > 1 && settings.weights === 'bfloat16' ? 1.5 : 1;
  return { seconds: seconds + sums * trained * update, start: trainer.start, extrapolated };
}

/** The first clip, or a piece of it where the whole is long. */
function smallest(clips: readonly Clip[]): Clip[] {
  const [{ frames, targets }] = clips as [Clip, ...Clip[]];
  return [{ frames: Math.min(frames, 64), targets: targets.map((n) => Math.min(n, 8)) }];
}

/** So large a part of a micro-batch: fewer clips, or a part of one. */
function reduced(clips: readonly Clip[], part: number): Clip[] {
  const count = Math.floor(part * clips.length);
  // The last ones: a batch is sorted by length, and padded to the longest.
  if (count >= 1) return clips.slice(-count);
  const [{ frames, targets }] = clips.slice(-1) as [Clip];
  const of = (all: number, least: number): number =>
    Math.min(all, Math.max(least, Math.round(all * part * clips.length)));
  return [{ frames: of(frames, 64), targets: targets.map((n) => of(n, 8)) }];
}

class Trainer {
  readonly #features: ProbeFeatures;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #ctc: CtcHead | undefined;
  readonly #end: () => void;
  /** What the first run took beside its work: code and kernels that are compiled. */
  start: number = 0;

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

  /** Seconds of the processors for a micro-batch, forward and backward. */
  async time(clips: readonly Clip[]): Promise<number> {
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
    let seconds = await this.budget.time(run);
    this.#forgetGradients();
    if (seconds < 0.5) {
      const first = seconds;
      seconds = await this.budget.time(run);
      this.start ||= Math.max(0, first - seconds);
      this.#forgetGradients();
    }
    return seconds;
  }

  /** Seconds of the processors for a parameter's part of clipping and the optimiser's step. */
  async timeUpdate(): Promise<number> {
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
    const optimizer = new Optimizer([{ parameters: some, weightDecay: 0 }], {
      roundingSeed: rounds ? 1 : undefined,
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
      await this.budget.time(run);
      return (await this.budget.time(run)) / count;
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
