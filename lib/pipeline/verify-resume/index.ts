/** Kills a run again and again and shows that it ends as one that was left alone. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { seededRandom } from '../../data';
import { fileError, nameBehind } from '../../files';
import type { Progress, RunOptions } from '../context';
import { readRecipe } from '../recipe';
import { attempt, ResumeError, type Attempt } from './attempt';
import { compareArtifacts, type Comparison } from './compare';
import { planKills, type RecordedStage } from './kills';
import type { ToChild } from './protocol';

export { ResumeError } from './attempt';

/** How often a run is killed, and where. */
export interface VerifyResumeOptions extends Pick<RunOptions, 'signal' | 'onProgress' | 'set'> {
  /** How often the run is killed; by default once in each stage, and four times more. */
  kills?: number;
  /** Of the points at which it is killed; 1 by default. */
  seed?: number;
  /** Leaves both runs where they are, for a look. */
  keep?: boolean;
  /** Hears of each kill, and how many there are to be. */
  onKill?: (kill: Kill, index: number, total: number) => void;
}

/** Where a run was killed, and what it left half written. */
export interface Kill {
  stage: string;
  /** `teacher 3/6`, or `write part teacher/model/model.safetensors`. */
  point: string;
  /** Files that were there under temporary names when the process was dead: half-written ones. */
  torn: string[];
}

/** A stage of both runs compared, and the kills that hit it. */
export interface VerifiedStage extends Comparison {
  name: string;
  /** It was taken as it is: a given teacher, or what an earlier stage had made. */
  given: boolean;
  kills: Kill[];
}

/** Whether a run that was killed again and again ends as one that was left alone. */
export interface ResumeVerification {
  /** Losses, traces, scores and the bytes of all weights are those of the uninterrupted run. */
  identical: boolean;
  /** In words, with the file; undefined if there is none. */
  firstDifference?: string;
  kills: number;
  seed: number;
  /** The report is the last one. */
  stages: VerifiedStage[];
  /** What is left of both runs, if they were to be kept. */
  dir?: string;
}

/** Both runs have the same output, relative to folders of their own, so that the same is written. */
const output = 'run';

/**
 * Follows a recipe once without interruption; then again, killed (SIGKILL) at seeded random points
 * in every stage and in the middle of writes, and resumed each time until it ends; and compares the
 * two run folders. Both lie in a folder of their own below the system's for temporary files; the
 * recipe's output is not touched.
 * @throws RecipeError, FileError; ResumeError if a run fails by itself
 */
export async function verifyResume(
  recipe: string,
  options: VerifyResumeOptions = {},
): Promise<ResumeVerification> {
  const { set = [], seed = 1, keep = false, signal } = options;
  const file = resolve(recipe);
  readRecipe(file, set);
  const dir = temporaryFolder();
  const task = { file, set, output };
  try {
    const alone = join(dir, 'whole');
    const onProgress = labelled('uninterrupted', options);
    const recorded = stagesOf(
      await leftAlone(() => attemptIn(alone, task, { signal, onProgress })),
    );
    const cwd = join(dir, 'killed');
    const { kills, warnings } = await killAgainAndAgain(cwd, task, recorded, options);
    const stages = recorded.map(({ name, events }) => ({
      ...{ name, given: events.length === 0 },
      kills: kills.filter(({ stage }) => stage === name),
      ...compareArtifacts(join(alone, output), join(cwd, output), folderOf(name)),
    }));
    // No kill may damage what was there.
    const firstDifference =
      stages.find(({ difference }) => difference !== undefined)?.difference ?? warnings[0];
    return {
      identical: firstDifference === undefined,
      ...{ firstDifference, kills: kills.length, seed, stages },
      ...(keep ? { dir } : {}),
    };
  } finally {
    if (!keep) rmSync(dir, { recursive: true, force: true });
  }
}

async function leftAlone(run: () => Promise<Attempt>): Promise<Attempt> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof ResumeError)) throw error;
    throw new ResumeError(`the run does not reach its end: ${error.message}`, { cause: error });
  }
}

/** Follows a recipe to its end with a kill at each of the points that are drawn. */
async function killAgainAndAgain(
  cwd: string,
  task: ToChild,
  recorded: readonly RecordedStage[],
  options: VerifyResumeOptions,
): Promise<{ kills: Kill[]; warnings: string[] }> {
  const { seed = 1, signal } = options;
  const made = recorded.filter(({ events }) => events.length > 0);
  const planned = planKills(made, options.kills ?? made.length + 4, seed);
  const moments = seededRandom(`moments ${seed}`);
  const kills: Kill[] = [];
  const warnings: string[] = [];
  const go = async (kill: ToChild['kill'], label: string, delay?: number): Promise<Attempt> => {
    try {
      const onProgress = labelled(label, options);
      const result = await attemptIn(cwd, { ...task, kill }, { signal, delay, onProgress });
      warnings.push(...result.warnings);
      return result;
    } catch (error) {
      if (!(error instanceof ResumeError)) throw error;
      const { stage, point } = kills.at(-1) ?? { stage: 'no stage', point: 'no point' };
      throw new ResumeError(
        `after ${kills.length} kills, the last in ${stage} (${point}): ${error.message}`,
        { cause: error },
      );
    }
  };
  for (const [i, { stage, key, isWrite, gap }] of planned.entries()) {
    const kill = { stage: stage.index, key, atOnce: isWrite };
    const label = `kill ${i + 1} of ${planned.length}`;
    const { reached } = await go(kill, label, moments.next() * gap);
    const point = reached ? readable(key) : 'its end';
    kills.push({ stage: stage.name, point, torn: tornFiles(join(cwd, output)) });
    options.onKill?.(kills.at(-1)!, i, planned.length);
  }
  await go(undefined, 'to the end');
  return { kills, warnings };
}

function temporaryFolder(): string {
  const place = join(tmpdir(), 'pare-verify-');
  try {
    return mkdtempSync(place);
  } catch (error) {
    throw fileError('make', place, error);
  }
}

function attemptIn(
  cwd: string,
  task: ToChild,
  options: Omit<Parameters<typeof attempt>[1], 'cwd'>,
): Promise<Attempt> {
  mkdirSync(cwd, { recursive: true });
  return attempt(task, { ...options, cwd });
}

function labelled(
  label: string,
  { onProgress }: VerifyResumeOptions,
): ((progress: Progress) => void) | undefined {
  return (
    onProgress && ((progress) => onProgress({ ...progress, label: `${label}: ${progress.label}` }))
  );
}

const report = 'report';

/** The stages of a run by what happened in each; the report is written when all are done. */
function stagesOf({ stages, events }: Attempt): RecordedStage[] {
  const names = [...stages.map(({ name }) => name), report];
  const all = names.map((name, index) => ({
    ...{ name, index },
    // What is made before, such as a corpus, belongs to nothing that is compared.
    events: stages[index]?.reused ? [] : events.filter(({ stage }) => stage === index),
  }));
  // A stage that two others ask for is there twice.
  return all.filter(({ name, index }) => names.indexOf(name) === index);
}

const folderOf = (stage: string): string | undefined => (stage === report ? undefined : stage);

/** Files under temporary names, and those in folders that bear one. */
function tornFiles(run: string): string[] {
  return (readdirSync(run, { recursive: true }) as string[])
    .filter((path) => nameBehind(path) !== undefined)
    .map(readable)
    .sort();
}

/** A path or a point without the hash of a work folder and the number of a process. */
function readable(text: string): string {
  return text
    .replace(/\.tmp-\d+-\d+/g, '')
    .replace(/(^|[ /])\.([^/ ]+)-[0-9a-f]{16}\.(work|new)\//g, '$1$2/');
}
