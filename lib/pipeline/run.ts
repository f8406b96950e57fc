/** A run: the chain of stages that a recipe asks for. */
import { resolve } from 'node:path';
import { middleBlock, type ImportanceResult } from '../compress';
import { named } from '../errors';
import { removeTemporaries } from '../files';
import { parseHubName } from '../hub';
import { readConfig } from '../qwen2-audio';
import { takeDevice } from './device';
import { resolveSource } from '../qwen2-audio/resolve';
import { leaderFirst, leads } from '../ranks';
import type { ReportData } from '../report';
import { progressOf, type Context, type RunOptions } from './context';
import { FeatureCache } from './models';
import { FitCheck } from './fit-check';
import { prepare } from './prepare';
import { readRecipe, RecipeError } from './recipe';
import type { Recipe } from './recipe-schema';
import {
  readReport,
  writeReport,
  type ReportInputs,
  type StageTiming,
  type TestedModel,
} from './report';
import { lockRunFolder } from './lock';
import { removeInRounds } from './rounds';
import { RunFolder, type Artifact } from './run-folder';
import {
  distillStage,
  healStage,
  importanceStage,
  pruneStage,
  quantizeStage,
  sourceOf,
  studentStage,
  type Source,
} from './stages/compress';
import { evaluateStage } from './stages/evaluate';
import { teacherFiles, teacherStage } from './stages/teacher';
import { logPath } from './training-log';

/** What a run leaves: its folder, the student and the report. */
export interface RunResult {
  /** The run folder. */
  dir: string;
  /** The model that is handed over: the last one of the chain. */
  student: string;
  report: ReportData;
  /** Path of the HTML report. */
  reportPath: string;
}

/**
 * Follows a recipe from teacher to report, as it stands: its variants are `runSweep`'s. Stages whose inputs are unchanged are taken from the
 * run folder; a run that was killed goes on where it was.
 * @throws PlanError before any work where memory or disk will not do; PareError of the room that
 * failed, in one line
 */
export async function runRecipe(file: string, options: RunOptions = {}): Promise<RunResult> {
  const { recipe, yaml } = readRecipe(file, options.set);
  await takeDevice(options);
  const fit = await FitCheck.of(file, recipe, options);
  return inRunFolder(recipe.name, recipe.output, options, (folder) =>
    runIn(folder, file, recipe, yaml, options, fit),
  );
}

/** Does something in a run folder of its own; of several ranks the leader makes and locks it. */
export async function inRunFolder<T>(
  name: string,
  output: string,
  { ranks }: RunOptions,
  body: (folder: RunFolder) => Promise<T>,
): Promise<T> {
  let unlock: (() => void) | undefined;
  try {
    const folder = await leaderFirst(ranks, () => {
      const opened = new RunFolder(resolve(output), name);
      if (leads(ranks)) unlock = lockRunFolder(opened.dir);
      return opened;
    });
    return await body(folder);
  } catch (error) {
    await ranks?.fail(error);
    throw error;
  } finally {
    unlock?.();
  }
}

/** {@link runRecipe} in a run folder that the caller has locked. */
export async function runIn(
  folder: RunFolder,
  file: string,
  recipe: Recipe,
  yaml: string,
  options: RunOptions,
  fit?: FitCheck,
): Promise<RunResult> {
  if (leads(options.ranks)) removeTemporaries(folder.dir);
  if (options.fromScratch) await trainTeacher(file, recipe, options);
  else await leaderFirst(options.ranks, () => fetchTeacher(file, recipe, options));
  const timings: StageTiming[] = [];
  const onStage = (name: string, artifact: Artifact): void => {
    timings.push({ name, seconds: artifact.seconds, reused: artifact.reused });
    options.onStage?.(name, artifact);
  };
  const prepared = await prepare(file, recipe, folder, { ...options, onStage });
  const context: Context = { ...prepared, checkFit: (stage) => fit?.stage(stage) };
  const features = new FeatureCache(context);
  const tested: TestedModel[] = [];
  const test = async (name: string, role: TestedModel['role'], source: Source): Promise<void> => {
    const { artifact, result } = await evaluateStage(context, features, name, source);
    const { hash } = artifact;
    tested.push({ name, role, model: source.model, evaluations: result, hash });
  };

  const teacherArtifact = await teacherStage(context, features);
  const files = teacherFiles(recipe, teacherArtifact);
  const teacher: Source = { model: files.model, hash: teacherArtifact.hash };
  const logs: ReportInputs['logs'] = [{ stage: 'teacher', path: files.log }];
  await test('teacher', 'teacher', teacher);

  let current = teacher;
  let search: ImportanceResult | undefined;
  const { importance, heal } = recipe;
  const teaches = heal?.teacherTexts ?? false;
  const texts = teaches ? await distillStage(context, features, teacher) : undefined;
  if (importance !== undefined && heal?.every !== undefined) {
    const rounds = await removeInRounds(context, features, teacher, texts);
    ({ source: current, search } = rounds);
    logs.push(...rounds.logs);
    await test('healed', 'step', current);
  } else {
    if (importance?.method === 'middle') {
      current = await withoutMiddle(context, teacher);
    } else if (importance !== undefined) {
      const { artifact, result } = await importanceStage(context, features, teacher);
      search = result;
      const chosen = { importance: artifact.hash };
      current = sourceOf(await pruneStage(context, teacher, chosen, result.kept));
    }
    if (importance !== undefined) await test('pruned', 'step', current);
    if (heal !== undefined) {
      const healed = await healStage(context, features, current, texts);
      current = sourceOf(healed);
      logs.push({ stage: 'healing', path: logPath(healed) });
      await test('healed', 'step', current);
    }
  }
  if (recipe.quantize !== undefined) {
    current = sourceOf(await quantizeStage(context, current));
    await test('quantized', recipe.distill === undefined ? 'student' : 'step', current);
  }
  if (recipe.distill !== undefined) {
    const distilled = await distillStage(context, features, teacher);
    const student = await studentStage(context, features, current, distilled);
    current = sourceOf(student);
    logs.push({ stage: 'QLoRA', path: logPath(student) });
    await test('student', 'student', current);
  }
  const inputs = { yaml, tested, timings, logs, search };
  const { ranks } = context.options;
  const report = leads(ranks) ? await writeReport(context, inputs) : undefined;
  // The others read it from the folder.
  await ranks?.leaderDoes(() => null);
  return {
    dir: context.folder.dir,
    student: current.model,
    ...(report ?? readReport(context.folder.dir)),
  };
}

/** Puts the folder in the hub's cache in the place of a name on the hub. */
async function fetchTeacher(file: string, { teacher }: Recipe, options: RunOptions): Promise<void> {
  const { checkpoint } = teacher;
  if (checkpoint === undefined || parseHubName(checkpoint) === undefined) return;
  const { signal, env } = options;
  const tell = progressOf({ options }, 'fetching the teacher (MB)');
  const onFetch = (done: number, total: number): void =>
    tell(Math.ceil(done / 1e6), Math.ceil(total / 1e6));
  try {
    teacher.checkpoint = await resolveSource(checkpoint, { signal, env, onFetch });
  } catch (error) {
    throw named(`${file}: teacher.checkpoint`, error);
  }
}

/** Follows the teacher's own recipe and puts what it made in the place of the checkpoint. */
async function trainTeacher(file: string, recipe: Recipe, options: RunOptions): Promise<void> {
  const { teacher } = recipe;
  if (teacher.madeBy === undefined) {
    throw new RecipeError(
      `${file}: the recipe does not say how its teacher was made; add teacher.madeBy, or run ` +
        'without --from-scratch',
    );
  }
  checkOrigin(file, recipe, teacher.madeBy);
  const { dir } = await runRecipe(teacher.madeBy, { ...options, fromScratch: false, set: [] });
  teacher.checkpoint = resolve(dir, 'teacher', 'model');
  teacher.log = resolve(dir, 'teacher', 'log.jsonl');
}

/** What a teacher is made by must not be the run that it is for. */
function checkOrigin(file: string, { output }: Recipe, madeBy: string): void {
  const origin = readRecipe(madeBy).recipe;
  if (resolve(origin.output) !== resolve(output)) return;
  throw new RecipeError(
    `${file}: teacher.madeBy: ${madeBy} has the same output, ${output}: the run would wait for ` +
      'itself; name the recipe that made the teacher, or another output',
  );
}

/** The teacher without the block of layers in its middle. */
async function withoutMiddle(context: Context, teacher: Source): Promise<Source> {
  const layers = readConfig(teacher.model).text.numHiddenLayers;
  const middle = middleBlock(layers, context.recipe.importance!);
  const kept = Array.from({ length: layers }, (_, i) => i).filter((i) => !middle.includes(i));
  return sourceOf(await pruneStage(context, teacher, { middle }, kept));
}
