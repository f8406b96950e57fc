/**
 * How long the stages of a recipe will take: some seconds of the program's own work on the recipe's
 * widths, and how often that work is done.
 */
import { availableParallelism, loadavg } from 'node:os';
import type { Utterance } from '../../data';
import { getRngState, numThreads, setNumThreads, setRngState } from '../../torch';
import type { PlannedStage } from '../plan';
import type { PlanInputs } from '../plan-inputs';
import { decodingSeconds, decodingWork, searchSeconds, type Heard } from './decoding';
import { ReferenceWork } from './pace';
import { ProbeModel, isTimedWhole } from './probe-model';
import { decodingCost, type DecodingCost, type DecodingTrial } from './probe-decoding';
import { ProbeTexts } from './probe-texts';
import { measureRates, type Rates } from './rates';
import { Shares } from './shares';
import { Budget } from './stopwatch';
import { trainingSeconds, trainingWork } from './training';

/** What a stage will take. */
export interface StageTime {
  /** By the clock, on a machine that does nothing else. */
  expectedSeconds: number;
  /** Of the processors, all threads together. */
  processorSeconds: number;
  /** How many times as much work as was tried the estimate is for; 1 is a whole step or batch. */
  extrapolated: number;
}

/** Times of the stages by their names, and what is to be said of them. */
export interface Times {
  stages: Map<string, StageTime>;
  /** Seconds of the processors that the calibration took. */
  calibration: number;
  notes: string[];
}

/** Seconds of the processors that a calibration may take. */
export const calibrationSeconds = 10;

/**
 * Seconds of the processors that a stage takes for itself: folders, digests, code that is loaded and
 * compiled. Measured with models of next to nothing.
 */
const stageSeconds = { trains: 0.5, other: 0.1 };

/** What is tried: a step of a stage that trains, a batch of a kind of model. */
const decoded = {
  decoding: [
    ...['evaluation-teacher', 'distilled', 'importance'],
    ...['evaluation-pruned', 'evaluation-healed'],
  ],
  'decoding in 4 bits': ['evaluation-quantized'],
  'decoding with an adapter': ['evaluation-student'],
};
const trained = ['teacher', 'healed', 'student'] as const;
type Trial = keyof typeof decoded | (typeof trained)[number];

/**
 * Times the recipe's work and counts it. Of what was not reached in the time, nothing is said.
 * @param seconds of the processors that may be taken
 */
export async function estimateTimes(
  inputs: PlanInputs,
  stages: readonly PlannedStage[],
  seconds: number = calibrationSeconds,
): Promise<Times> {
  const [rng, threads] = [getRngState(), numThreads()];
  const times: Times = { stages: new Map(), calibration: 0, notes: [] };
  const [load] = loadavg() as [number];
  // Threads that wait for one whose processor another program has take processors without working:
  // forty times the work was seen. One by itself takes what the work takes.
  const isBusy = load > availableParallelism() / 2;
  if (isBusy) {
    times.notes.push(
      `other programs are running (load ${load.toFixed(1)}): times are those of one thread on a ` +
        'processor of its own',
    );
    setNumThreads(1);
  }
  using pace = new ReferenceWork();
  const budget = new Budget(seconds, pace);
  try {
    await new Estimator(inputs, stages, budget, times).run();
  } finally {
    setRngState(rng);
    setNumThreads(threads);
  }
  times.calibration = budget.used;
  return times;
}

class Estimator {
  #texts!: ProbeTexts;
  #rates!: Rates;
  #heard!: Heard;
  #shares!: Shares<Trial>;

  constructor(
    readonly inputs: PlanInputs,
    readonly stages: readonly PlannedStage[],
    readonly budget: Budget,
    readonly times: Times,
  ) {}

  async run(): Promise<void> {
    const { recipe, shape, splits, corpus } = this.inputs;
    const { quantize, teacher } = recipe;
    const names = new Set(this.stages.map(({ name }) => name));
    const whole = isTimedWhole(shape);
    this.#texts = await ProbeTexts.of(
      recipe,
      whole,
      corpus === undefined ? [] : splits.train,
      this.budget,
    );
    this.#rates = await measureRates(this.inputs, this.stages, this.#texts, this.budget);
    this.#heard = { recipe, shape, texts: this.#texts, ...framesIn(this.inputs) };
    this.#shares = new Shares(this.#work(whole));
    // One model after the other, so that few are in memory.
    {
      const weights = teacher.train?.weights ?? 'float32';
      using probe = ProbeModel.make(shape, this.#texts, weights);
      if (this.#trains('teacher') && teacher.train?.lora === undefined)
        await this.#train('teacher', probe);
      if (this.#trains('healed') && (recipe.heal!.weights ?? 'float32') === weights) {
        await this.#train('healed', probe);
      }
      if (weights === 'float32') await this.#decode(probe, names);
    }
    if (!this.times.stages.has('evaluation-teacher')) {
      using probe = ProbeModel.make(shape, this.#texts, 'float32');
      if (this.#trains('teacher') && !this.times.stages.has('teacher'))
        await this.#train('teacher', probe);
      await this.#decode(probe, names);
    }
    if (this.#trains('healed') && !this.times.stages.has('healed')) {
      using probe = ProbeModel.make(shape, this.#texts, recipe.heal!.weights ?? 'float32');
      await this.#train('healed', probe);
    }
    if (quantize === undefined) return;
    using probe = ProbeModel.make(
      shape,
      this.#texts,
      recipe.distill?.weights ?? 'float32',
      quantize,
    );
    if (this.#trains('student')) await this.#train('student', probe);
    await this.#decodePacked(probe);
  }

  #trains(name: string): boolean {
    return this.stages.some((stage) => stage.name === name && stage.trained > 0);
  }

  /** Multiplications that each trial stands for. */
  #work(whole: boolean): Map<Trial, number> {
    const all = new Map<Trial, number>();
    for (const name of trained) {
      // A batch of it costs more to try than one of decoding for the same work.
      if (this.#trains(name)) all.set(name, 2 * trainingWork(name, this.inputs, this.#texts));
    }
    const cost = decodingWork(this.#heard);
    for (const [trial, names] of Object.entries(decoded) as [keyof typeof decoded, string[]][]) {
      const work = names.reduce((sum, name) => sum + this.#decoding(name, cost), 0);
      // Of a large one, an adapter's part of the work is small: it is not tried by itself.
      const by = !whole && trial === 'decoding with an adapter' ? 'decoding in 4 bits' : trial;
      if (work > 0) all.set(by, (all.get(by) ?? 0) + work);
    }
    return all;
  }

  #stage(name: string): PlannedStage | undefined {
    return this.stages.find((stage) => stage.name === name);
  }

  #note(name: string, seconds: number, extrapolated: number): void {
    if (!(seconds > 0)) return;
    const own = this.#trains(name) ? stageSeconds.trains : stageSeconds.other;
    const processorSeconds = seconds + own;
    const { wallPerProcessor } = this.budget;
    const expectedSeconds = processorSeconds * wallPerProcessor;
    this.times.stages.set(name, { expectedSeconds, processorSeconds, extrapolated });
  }

  async #train(name: (typeof trained)[number], probe: ProbeModel): Promise<void> {
    const allowance = this.budget.left * this.#shares.take(name);
    if (this.#isOver(name)) return;
    const stage = this.#stage(name)!;
    const { seconds, extrapolated } = await trainingSeconds(
      name,
      { inputs: this.inputs, stage, probe, texts: this.#texts, rates: this.#rates },
      allowance,
      this.budget,
    );
    this.#note(name, seconds, extrapolated);
  }

  /** Whether the time is over; what is left out is told. */
  #isOver(name: string): boolean {
    if (this.budget.left > 0.02 * this.budget.seconds) return false;
    this.times.notes.push(`no time was left to calibrate ${name}`);
    return true;
  }

  async #decode(probe: ProbeModel, names: ReadonlySet<string>): Promise<void> {
    const { shape, recipe } = this.inputs;
    const layers = shape.text.numHiddenLayers;
    const cost = await this.#cost(probe, 'decoding', layers, {
      isPruned: recipe.importance !== undefined,
    });
    if (cost === undefined) return;
    for (const name of decoded.decoding) if (names.has(name)) this.#noteDecoding(name, cost);
    const pruned = this.#stage('pruned');
    if (pruned !== undefined) {
      // Read again when it is written.
      this.#note('pruned', 2 * pruned.disk * this.#rates.write, 1);
    }
    const quantized = this.#stage('quantized');
    if (quantized !== undefined) {
      const { pack, write } = this.#rates;
      this.#note('quantized', quantized.parameters * pack + 1.5 * quantized.disk * write, 1);
    }
  }

  async #decodePacked(probe: ProbeModel): Promise<void> {
    const { distill } = this.inputs.recipe;
    const plain = await this.#cost(probe, 'decoding in 4 bits', this.#layersLeft);
    if (plain !== undefined) this.#noteDecoding('evaluation-quantized', plain);
    if (distill === undefined) return;
    const { lora } = distill;
    const adapted = probe.isWhole
      ? await this.#cost(probe, 'decoding with an adapter', this.#layersLeft, { lora })
      : plain;
    if (adapted !== undefined) this.#noteDecoding('evaluation-student', adapted);
  }

  async #cost(
    probe: ProbeModel,
    what: keyof typeof decoded,
    decoder: number,
    options: Pick<DecodingTrial, 'lora' | 'isPruned'> = {},
  ): Promise<DecodingCost | undefined> {
    const allowance = this.budget.left * this.#shares.take(what);
    if (this.#isOver(what)) return undefined;
    const { shape, splits, recipe } = this.inputs;
    const all = this.#heard.framesOf(splits.test.length > 0 ? splits.test : splits.dev);
    const { batchSize } = recipe.generation;
    // A batch in the middle: neither the shortest nor the longest.
    const sorted = [...all].sort((a, b) => a - b);
    const at = Math.max(0, Math.floor((sorted.length - batchSize) / 2));
    const frames = sorted.slice(at, at + batchSize);
    const { vocabSize: vocabulary } = shape.text;
    const layers = { encoder: shape.audio.encoderLayers, decoder, vocabulary };
    return decodingCost(probe, { shape, layers, frames, ...options }, allowance, this.budget);
  }

  get #layersLeft(): number {
    const { recipe, shape } = this.inputs;
    return shape.text.numHiddenLayers - (recipe.importance?.remove ?? 0);
  }

  /** Seconds of a stage's batches; none where it is not one of the recipe, or has nothing to hear. */
  #decoding(name: string, cost: DecodingCost): number {
    if (this.#stage(name) === undefined) return 0;
    const { recipe, shape, splits } = this.inputs;
    const whole = shape.text.numHiddenLayers;
    if (name === 'importance') return searchSeconds(this.#heard, recipe, splits.dev, cost, whole);
    const heard = name === 'distilled' ? splits.train : splits.test;
    const byTeacher = name === 'distilled' || name === 'evaluation-teacher';
    const layers = byTeacher ? whole : this.#layersLeft;
    // Each test split by itself; that batches end at its end is left out.
    return decodingSeconds(this.#heard, heard, recipe.languages, cost, layers);
  }

  #noteDecoding(name: string, cost: DecodingCost): void {
    const { recipe, splits } = this.inputs;
    const { languages, evaluate } = recipe;
    let seconds = this.#decoding(name, cost);
    if (seconds === 0) return;
    if (name.startsWith('evaluation-')) {
      const sentences = splits.test.length * languages.length;
      seconds += sentences * evaluate.samples * this.#rates.bootstrap;
    }
    this.#note(name, cost.start + seconds + this.#loading(name), cost.extrapolated);
  }

  /** The model, and audio that no stage before has heard. */
  #loading(name: string): number {
    const { audio, load } = this.#rates;
    const { recipe, splits } = this.inputs;
    const { parameters } = this.#stage(name)!;
    const secondsOf = (all: readonly Utterance[]): number =>
      all.reduce((sum, u) => sum + u.seconds, 0);
    const trainedBefore = recipe.teacher.train !== undefined;
    const heard: Record<string, number> = {
      'evaluation-teacher': secondsOf(splits.test),
      importance: secondsOf(splits.dev),
      distilled: trainedBefore || recipe.heal !== undefined ? 0 : secondsOf(splits.train),
    };
    return parameters * load + (heard[name] ?? 0) * audio;
  }
}

function framesIn({ shape }: PlanInputs): Pick<Heard, 'framesOf'> {
  const window = 2 * shape.audio.maxSourcePositions;
  return {
    framesOf: (all) => all.map(({ seconds }) => Math.min(window, Math.ceil(seconds * 100))),
  };
}
