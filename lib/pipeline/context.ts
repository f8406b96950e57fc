/** What all stages of a run share. */
import type { Corpus, Utterance } from '../data';
import type { ExtraCorpora } from './extra-corpora';
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
  /** A folder for TensorBoard, where each stage that trains has a run; none unless given. */
  tensorboard?: string;
  signal?: AbortSignal;
  /** HF_ENDPOINT, HF_HOME and so on, for a teacher on the hub; the process's by default. */
  env?: NodeJS.ProcessEnv;
  /** Trains a teacher that has a recipe of its own (`madeBy`) instead of taking its checkpoint. */
  fromScratch?: boolean;
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
  options: RunOptions;
}

/** A reporter for {@link RunOptions.onProgress}. */
export function progressOf(
  context: { options: Pick<RunOptions, 'onProgress'> },
  label: string,
): (done: number, total: number) => void {
  return (done, total) => context.options.onProgress?.({ label, done, total });
}

/** A stage's result under its name, with its artifact. */
export async function runStage(
  context: Context,
  name: string,
  inputs: unknown,
  make: (target: string, work: string, hash: string) => Promise<void>,
): Promise<Artifact> {
  const { signal, onWarning } = context.options;
  const check = progressOf(context, `checking ${name} (MB)`);
  const artifact = await context.folder.stage(name, inputs, make, {
    signal,
    onWarning,
    onProgress: (done, total) => check(Math.floor(done / 1e6), Math.ceil(total / 1e6)),
  });
  context.options.onStage?.(name, artifact);
  return artifact;
}
