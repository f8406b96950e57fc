/**
 * How long the stages of a recipe will take: some seconds of the program's own work on the recipe's
 * widths, and how often that work is done.
 */
import { availableParallelism, loadavg } from 'node:os';
import type { Utterance } from '../../data';
import { getRngState, numThreads, setNumThreads, setRngState } from '../../torch';
import type { PlannedStage } from '../plan';
import type { PlanInputs } from '../plan-inputs';
import { decodingSeconds, searchSeconds, type Heard } from './decoding';
import { ProbeModel, isTimedWhole } from './probe-model';
import { decodingCost, type DecodingCost } from './probe-decoding';
import { ProbeTexts } from './probe-texts';
import { measureRates, type Rates } from './rates';
import { Budget } from './stopwatch';
import { trainingSeconds } from './training';

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
 * Seconds of the processors that a stage takes for itself: folders, digests, code that is loaded. Measured
 * with models of next to nothing.
 */
const stageSeconds = 0.1;

/** Of the time, a training step is given so many times as much as decoding. */
const trainingShare = 2;

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
  const budget = new Budget(seconds);
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
  /** Of what is left, for what is still to be tried. */
  #shares = 0;

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
    this.#rates = await measureRates(this.inputs, this.#texts, this.budget);
    // One model after the other, so that few are in memory.
    const kinds = { full: 1, packed: quantize === undefined ? 0 : 1 };
    const training = ['teacher', 'healed', 'student'].filter((name) => this.#trains(name));
    this.#shares = trainingShare * training.length + kinds.full + (whole ? 2 : 1) * kinds.packed;
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

  /** A fair part of what is left, so that what a probe did not need goes to the others. */
  #allowance(share: number): number {
    const allowance = (this.budget.left * share) / Math.max(share, this.#shares);
    this.#shares -= share;
    return allowance;
  }

  #stage(name: string): PlannedStage | undefined {
    return this.stages.find((stage) => stage.name === name);
  }

  #note(name: string, seconds: number, extrapolated: number): void {
    if (!(seconds > 0)) return;
    const processorSeconds = seconds + stageSeconds;
    const { wallPerProcessor } = this.budget;
    const expectedSeconds = processorSeconds * wallPerProcessor;
    this.times.stages.set(name, { expectedSeconds, processorSeconds, extrapolated });
  }

  async #train(name: 'teacher' | 'healed' | 'student', probe: ProbeModel): Promise<void> {
    const allowance = this.#allowance(trainingShare);
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
    const cost = await this.#cost(probe, 'decoding');
    if (cost === undefined) return;
    const { recipe, shape, splits } = this.inputs;
    const heard = this.#heard();
    const whole = shape.text.numHiddenLayers;
    const left = whole - (recipe.importance?.remove ?? 0);
    const evaluate = (name: string, layers: number): void => this.#evaluate(name, cost, layers);
    if (names.has('evaluation-teacher')) evaluate('evaluation-teacher', whole);
    for (const name of ['evaluation-pruned', 'evaluation-healed']) {
      if (names.has(name)) evaluate(name, left);
    }
    if (names.has('distilled')) {
      const decoding = decodingSeconds(heard, splits.train, recipe.languages, cost, whole);
      this.#note(
        'distilled',
        cost.start + decoding + this.#loading('distilled'),
        cost.extrapolated,
      );
    }
    if (names.has('importance')) {
      const seconds = searchSeconds(heard, recipe, splits.dev, cost, whole);
      this.#note(
        'importance',
        cost.start + seconds + this.#loading('importance'),
        cost.extrapolated,
      );
    }
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
    const layers =
      this.inputs.shape.text.numHiddenLayers - (this.inputs.recipe.importance?.remove ?? 0);
    const plain = await this.#cost(probe, 'decoding in 4 bits');
    if (plain !== undefined) this.#evaluate('evaluation-quantized', plain, layers);
    if (distill === undefined) return;
    // Of a large one, an adapter's part of the work is small.
    const adapted = probe.isWhole
      ? await this.#cost(probe, 'decoding with an adapter', distill.lora)
      : plain;
    if (adapted !== undefined) this.#evaluate('evaluation-student', adapted, layers);
  }

  async #cost(
    probe: ProbeModel,
    what: string,
    lora?: Parameters<typeof decodingCost>[1]['lora'],
  ): Promise<DecodingCost | undefined> {
    const allowance = this.#allowance(1);
    if (this.#isOver(what)) return undefined;
    const { shape, splits, recipe } = this.inputs;
    const all = this.#heard().framesOf(splits.test.length > 0 ? splits.test : splits.dev);
    const { batchSize } = recipe.generation;
    // A batch in the middle: neither the shortest nor the longest.
    const sorted = [...all].sort((a, b) => a - b);
    const at = Math.max(0, Math.floor((sorted.length - batchSize) / 2));
    const frames = sorted.slice(at, at + batchSize);
    const layers = {
      encoder: shape.audio.encoderLayers,
      decoder: shape.text.numHiddenLayers,
      vocabulary: shape.text.vocabSize,
    };
    return decodingCost(probe, { shape, layers, frames, lora }, allowance, this.budget);
  }

  #heard(): Heard {
    return {
      recipe: this.inputs.recipe,
      shape: this.inputs.shape,
      texts: this.#texts,
      ...framesIn(this.inputs),
    };
  }

  #evaluate(name: string, cost: DecodingCost, layers: number): void {
    const { recipe, splits } = this.inputs;
    if (splits.test.length === 0) return;
    const { languages, evaluate } = recipe;
    // Each test split by itself; that batches end at its end is left out.
    const decoding = decodingSeconds(this.#heard(), splits.test, languages, cost, layers);
    const sentences = splits.test.length * languages.length;
    const bootstrap = sentences * evaluate.samples * this.#rates.bootstrap;
    this.#note(name, cost.start + decoding + bootstrap + this.#loading(name), cost.extrapolated);
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
