/** The training loop: every stage that trains runs through here. */
import { setImmediate } from 'node:timers/promises';
import { warn } from '../errors';
import { backward, discardCheckpoints, optim, scope, type Tensor } from '../torch';
import type { ProcessGroup } from '../torch/distributed';
import { loadCheckpoint, saveCheckpoint, type CheckpointOptions } from './checkpoint';
import { addTo, DataParallel, type Sums } from './data-parallel';
import { TrainingError } from './error';
import type { OptimizerName, Rounding } from './optimizers';
import { scheduleFactor, type ScheduleName } from './schedule';

/** How parameters change: optimiser, learning rate and schedule, weight decay, clipping. */
export interface OptimizerOptions {
  /** Default `adamw`. */
  optimizer?: OptimizerName;
  learningRate: number;
  betas?: readonly [number, number];
  eps?: number;
  /** On matrices; vectors (norms, biases) are not decayed unless `decayVectors`. */
  weightDecay?: number;
  decayVectors?: boolean;
  schedule?: ScheduleName;
  warmupSteps?: number;
  /** Gradients are scaled so that their global norm is at most this; 0 leaves them. */
  maxGradNorm?: number;
  /** Of parameters in bfloat16; stochastic unless given. */
  rounding?: Rounding;
}

/** One line of the training log. */
export interface TrainingLogEntry {
  step: number;
  steps: number;
  loss: number;
  learningRate: number;
  gradNorm: number;
  /** Of the optimiser step, forward and backward included. */
  seconds: number;
  [metric: string]: number;
}

/** What is trained, on what, for how long, and who hears of it. */
export interface TrainOptions<Micro> extends OptimizerOptions {
  parameters: ReadonlyMap<string, Tensor>;
  /** Of stochastic rounding; 0 unless given. */
  roundingSeed?: number;
  steps: number;
  /** Awaited before a step: reads what its micro-batches need. */
  prepare?: (step: number) => Promise<void>;
  /** The micro-batches of a step: a function of the step alone, so that a resumed run sees the same. */
  microBatches: (step: number) => Iterable<Micro>;
  /**
   * The micro-batch's share of the step's loss, a scalar, and numbers to log, which are summed over
   * the step. Divide by the targets of the whole step, not of the micro-batch.
   */
  loss: (micro: Micro, step: number) => { loss: Tensor; metrics?: Record<string, number> };
  /** Names a step's examples, for the error when its loss is no number. */
  describe?: (step: number) => string;
  /** Hears after each step; training waits for its promise. */
  onStep?: (entry: TrainingLogEntry) => void | Promise<void>;
  /** Hears before the first step how many are done; a log of more is of steps that come again. */
  onResume?: (done: number) => void;
  /** Hears before a checkpoint is written: what must not be older than it goes to disk here. */
  onSave?: (done: number) => void;
  /** Hears of damaged checkpoints that were passed over; Node's own warning unless given. */
  onWarning?: (message: string) => void;
  signal?: AbortSignal;
  /**
   * Processes that train together. Each gives its own share of a step's micro-batches; losses and
   * gradients are summed over all. The first one's parameters and checkpoints count.
   */
  group?: ProcessGroup;
  /** Where checkpoints are kept, how many, and how often one is written. */
  state?: CheckpointOptions;
}

/**
 * Trains until `steps`. With checkpoints (`state`), goes on from the last one: parameters, optimiser,
 * libtorch's random numbers, step. There is none inside a step, so that no sum of gradients is half
 * done in it.
 * @throws TrainingError when loss or gradient are not finite; parameters are as after the last
 * good step
 */
export async function train<Micro>(options: TrainOptions<Micro>): Promise<void> {
  const { parameters, steps, state, signal, group, rounding, roundingSeed = 0 } = options;
  const Optimizer = options.optimizer === 'adamw8bit' ? optim.AdamW8bit : optim.AdamW;
  const optimizer = new Optimizer(parameterGroups(options), {
    ...options,
    roundingSeed: rounding === 'nearest' ? undefined : roundingSeed,
  });
  const parallel =
    group === undefined || group.size === 1 ? undefined : new DataParallel(group, parameters);
  // Sums over ranks, too: these may have different numbers of micro-batches.
  if (parallel !== undefined) optimizer.sumGradInFloat32();
  try {
    let step = 0;
    // Of several ranks one reads and writes.
    const own = (group?.rank ?? 0) === 0 ? state : undefined;
    if (own !== undefined) {
      step = await loadCheckpoint(own, parameters, optimizer, options.onWarning ?? warn);
    }
    if (parallel !== undefined) step = await parallel.beginAt(step, optimizer);
    options.onResume?.(step);
    let saved = step;
    const save = async (): Promise<void> => {
      if (own === undefined || saved === step) return;
      options.onSave?.(step);
      await saveCheckpoint(own, parameters, optimizer, step);
      saved = step;
    };
    let stopped = parallel === undefined && (signal?.aborted ?? false);
    while (step < steps) {
      if (stopped) {
        await save();
        signal?.throwIfAborted();
        throw new DOMException('another rank was interrupted', 'AbortError');
      }
      await options.prepare?.(step);
      const entry = await trainStep(options, optimizer, step, parallel);
      await options.onStep?.(entry);
      step++;
      if (step % (state?.everySteps ?? Infinity) === 0 || step === steps) await save();
      await setImmediate();
      // Ranks must stop at the same step.
      stopped = parallel === undefined ? (signal?.aborted ?? false) : parallel.stopped;
    }
  } catch (error) {
    // What a step left unfinished must not reach a later run.
    discardCheckpoints();
    optimizer.zeroGrad();
    throw error;
  } finally {
    parallel?.close();
    optimizer.dispose();
  }
}

function checkFinite(
  what: string,
  value: number,
  step: number,
  { learningRate, describe }: Pick<TrainOptions<unknown>, 'learningRate' | 'describe'>,
): void {
  if (Number.isFinite(value)) return;
  const among = describe === undefined ? '' : ` among ${describe(step)}`;
  throw new TrainingError(
    `the ${what} is ${value} at step ${step + 1}; lower the learning rate ` +
      `(${learningRate}) or look for a damaged example${among}`,
  );
}

async function trainStep<Micro>(
  options: TrainOptions<Micro>,
  optimizer: optim.Optimizer,
  step: number,
  parallel: DataParallel | undefined,
): Promise<TrainingLogEntry> {
  const started = performance.now();
  let sums = scope(() => accumulate(options, optimizer, step, parallel));
  if (parallel !== undefined) {
    sums = await parallel.sum(sums, options.signal?.aborted ?? false);
    checkFinite('loss', sums.loss, step, options);
  }
  const { learningRate, gradNorm } = scope(() => update(options, optimizer, step));
  const seconds = (performance.now() - started) / 1000;
  const { loss, ...metrics } = sums;
  return {
    step: step + 1,
    steps: options.steps,
    loss,
    learningRate,
    gradNorm,
    seconds,
    ...metrics,
  };
}

/** Forward and backward of a step; returns the loss and what else is to be logged. */
function accumulate<Micro>(
  options: TrainOptions<Micro>,
  optimizer: optim.Optimizer,
  step: number,
  parallel: DataParallel | undefined,
): Sums {
  const sums: Sums = { loss: 0 };
  let microBatches = 0;
  for (const { item, last } of marked(options.microBatches(step))) {
    // The first one's gradient is as exact in its own dtype, at half of the bytes.
    if (microBatches++ === 1) optimizer.sumGradInFloat32();
    scope(() => {
      const { loss, metrics = {} } = options.loss(item, step);
      const value = loss.item();
      // Of several ranks one alone must not stop.
      if (parallel === undefined) checkFinite('loss', value, step, options);
      addTo(sums, { loss: value, ...metrics });
      if (last) parallel?.beforeLastBackward();
      backward(loss);
    });
  }
  return sums;
}

/** Items, with the last one marked. */
function* marked<T>(items: Iterable<T>): Iterable<{ item: T; last: boolean }> {
  let before: { item: T } | undefined;
  for (const item of items) {
    if (before !== undefined) yield { ...before, last: false };
    before = { item };
  }
  if (before !== undefined) yield { ...before, last: true };
}

/** The optimiser's step with the gradients that are there. */
function update<Micro>(
  options: TrainOptions<Micro>,
  optimizer: optim.Optimizer,
  step: number,
): { learningRate: number; gradNorm: number } {
  const factor = scheduleFactor(
    options.schedule ?? 'cosine',
    step,
    options.steps,
    options.warmupSteps,
  );
  const learningRate = options.learningRate * factor;
  const maxNorm = options.maxGradNorm || Infinity;
  const gradNorm = optim.clipGradNorm(optimizer.parameters, maxNorm);
  // A finite loss can have a gradient that is not; a step with it would ruin every parameter.
  checkFinite('norm of the gradient', gradNorm, step, options);
  optimizer.step(learningRate);
  optimizer.zeroGrad();
  return { learningRate, gradNorm };
}

function parameterGroups<Micro>(options: TrainOptions<Micro>): optim.ParameterGroup[] {
  const decay = options.weightDecay ?? 0;
  const matrices = new Map<string, Tensor>();
  const vectors = new Map<string, Tensor>();
  for (const [name, parameter] of options.parameters) {
    (parameter.shape.length > 1 ? matrices : vectors).set(name, parameter);
  }
  return [
    { parameters: matrices, weightDecay: decay },
    { parameters: vectors, weightDecay: options.decayVectors ? decay : 0 },
  ];
}
