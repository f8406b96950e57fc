/** What all stages of a run share. */
import type { Corpus, Utterance } from '../data';
import type { ExtraCorpora } from './extra-corpora';
import { leads, type Ranks } from '../ranks';
import { DistributedError, type ProcessGroup } from '../torch/distributed';
import type { Machine } from './machine';
import type { Recipe } from './recipe-schema';
import type { Artifact, RunFolder } from './run-folder';
import type { TrainingLogEntry } from '../train/loop';

/** How far a stage has come. */
export interface Progress {
  /** The stage, in a word or two. */
  label: string;
  done: number;
  total: number;
  /** For example the loss. */
  note?: string;
}

/** What a run does beside the recipe, and who hears of it. */
export interface RunOptions {
  /** Hears of the work inside a stage, often. */
  onProgress?: (progress: Progress) => void;
  /** Hears when a stage's artifact is there, made or found. */
  onStage?: (name: string, artifact: Artifact) => void;
  /** Hears every step of every stage that trains, under the stage's name. */
  onMetrics?: (stage: string, entry: TrainingLogEntry) => void;
  /** Hears, in one line, of what was damaged and is made again; Node's own warning unless given. */
  onWarning?: (message: string) => void;
  /**
   * Where models are trained and translate: `cpu` unless given, `cuda`, or `cuda:1`. Pruning and
   * quantising go from file to file on the CPU.
   */
  device?: string;
  /** A folder for TensorBoard, where each stage that trains has a run; none unless given. */
  tensorboard?: string;
  signal?: AbortSignal;
  /** HF_ENDPOINT, HF_HOME and so on, for a teacher on the hub; the process's by default. */
  env?: NodeJS.ProcessEnv;
  /**
   * Processes that follow the recipe together; each calls the same function with the same options.
   * All train, search and translate; the first one writes, into a folder that all must see.
   */
  ranks?: Ranks;
  /** Trains a teacher that has a recipe of its own (`madeBy`) instead of taking its checkpoint. */
  fromScratch?: boolean;
  /** Runs although the plan says that memory or disk will not do. */
  ignorePlan?: boolean;
  /** What there is of memory and disk; what the system says unless given. */
  machine?: Machine;
  /** Changes to the recipe, as `importance.remove=8`; nothing behind the sign leaves the key out. */
  set?: readonly string[];
}

export interface Context {
  recipe: Recipe;
  folder: RunFolder;
  corpus: Corpus;
  /** Stands for the corpus in hashes. */
  corpusHash: string;
  splits: Record<string, Utterance[]>;
  /** What `distill.extra` names. */
  extra?: ExtraCorpora;
  extraHash?: string;
  /** Holds a stage that is about to be made against the machine. */
  checkFit?: (stage: string) => void;
  options: RunOptions;
}

/** A reporter for {@link RunOptions.onProgress}. */
export function progressOf(
  context: { options: Pick<RunOptions, 'onProgress'> },
  label: string,
): (done: number, total: number) => void {
  return (done, total) => context.options.onProgress?.({ label, done, total });
}

type Make = (target: string, work: string, hash: string) => Promise<void>;

/**
 * A stage's result under its name, with its artifact.
 * @param make of a stage that several ranks work on: the others leave it where the leader writes
 * (`leads`); `alone` for one that is the leader's
 */
export async function runStage(
  context: Context,
  name: string,
  inputs: unknown,
  make: Make,
  alone: 'alone' | 'together' = 'together',
): Promise<Artifact> {
  const { ranks, onStage } = context.options;
  const artifact = leads(ranks)
    ? await leadStage(context, name, inputs, make)
    : await followStage(ranks!, alone === 'alone' ? undefined : make);
  onStage?.(name, artifact);
  return artifact;
}

/** What the leader tells of a stage: that it is being made, and what was made. */
type Told = { making: Parameters<Make> } | { made: Artifact };

async function leadStage(
  context: Context,
  name: string,
  inputs: unknown,
  make: Make,
): Promise<Artifact> {
  const { ranks, signal, onWarning } = context.options;
  const check = progressOf(context, `checking ${name} (MB)`);
  const together: Make = async (...making) => {
    context.checkFit?.(name);
    await ranks?.tell({ making } satisfies Told);
    await make(...making);
  };
  const artifact = await context.folder.stage(name, inputs, together, {
    signal,
    onWarning,
    onProgress: (done, total) => check(Math.floor(done / 1e6), Math.ceil(total / 1e6)),
  });
  await ranks?.tell({ made: artifact } satisfies Told);
  return artifact;
}

async function followStage(ranks: Ranks, make: Make | undefined): Promise<Artifact> {
  let told = await ranks.hear<Told>();
  if ('making' in told) {
    await make?.(...told.making);
    told = await ranks.hear<Told>();
  }
  if ('made' in told) return told.made;
  throw new DistributedError('the ranks do not follow the same recipe; start them all anew');
}

/** Trains with a process group of the ranks that live, if there are several. */
export async function withGroup<T>(
  { options: { ranks } }: Pick<Context, 'options'>,
  body: (group: ProcessGroup | undefined) => Promise<T>,
): Promise<T> {
  const group = await ranks?.processGroup();
  try {
    return await body(group);
  } finally {
    group?.close();
  }
}
