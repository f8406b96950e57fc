/** Steps of training, made to be timed. */
import { attachLora, detachLora, setAdapter, type LoraConfig } from '../../lora';
import { backward, Generator, optim, scope, type Tensor } from '../../torch';
import { zeroGrad } from '../../torch/autograd';
import { CtcHead, TranslationTask } from '../../train/translation';
import type { TrainingSettings } from '../recipe-schema';
import type { Shape } from '../plan-memory';
import type { Clip } from '../workload';
import { ProbeFeatures, type Layers, type ProbeModel } from './probe-model';
import type { Budget } from './stopwatch';

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

/** Seconds for one parameter. */
export interface Update {
  /** Of clipping and the optimiser's step. */
  update: number;
  /** Until its moments are there. */
  moments: number;
}

/** Elements of parameters with which an optimiser is timed. */
const optimized = 16e6;

/** A short step is timed so often at the most. */
const mostTimes = 20;

export class Trainer {
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
   * @param twice whatever it has used: the first time has the start in it
   */
  async time(clips: readonly Clip[], until: number, twice: boolean = false): Promise<number> {
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
    if (twice || first < left()) {
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
  async timeUpdate(): Promise<Update> {
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
