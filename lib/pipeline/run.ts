/** A run: the chain of stages that a recipe asks for. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { checkRemoval } from '../compress';
import { checkDisjoint, CorpusError, openCorpus, type Utterance } from '../data';
import { fileError } from '../files';
import { readConfig } from '../qwen2-audio';
import type { ReportData } from '../report';
import { progressOf, type Context, type RunOptions } from './context';
import { demoCorpusDir, ensureDemoCorpus } from './demo-corpus';
import { FeatureCache } from './models';
import { readRecipe, RecipeError, type Recipe } from './recipe';
import { writeReport, type StageTiming, type TestedModel } from './report';
import { lockRunFolder } from './lock';
import { hashOf, RunFolder, type Artifact } from './run-folder';
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
 * Follows a recipe from teacher to report. Stages whose inputs are unchanged are taken from the
 * run folder; a run that was killed goes on where it was.
 * @throws PareError of the room that failed, in one line
 */
export async function runRecipe(file: string, options: RunOptions = {}): Promise<RunResult> {
  const { recipe, yaml } = readRecipe(file);
  if (options.fromScratch) await trainTeacher(recipe, options);
  const folder = new RunFolder(resolve(recipe.output), recipe.name);
  const unlock = lockRunFolder(folder.dir);
  try {
    return await follow(recipe, yaml, folder, options);
  } finally {
    unlock();
  }
}

async function follow(
  recipe: Recipe,
  yaml: string,
  folder: RunFolder,
  options: RunOptions,
): Promise<RunResult> {
  const timings: StageTiming[] = [];
  const onStage = (name: string, artifact: Artifact): void => {
    timings.push({ name, seconds: artifact.seconds, reused: artifact.reused });
    options.onStage?.(name, artifact);
  };
  const context = await prepare(recipe, folder, { ...options, onStage });
  const features = new FeatureCache(context);
  const tested: TestedModel[] = [];
  const test = async (name: string, role: TestedModel['role'], source: Source): Promise<void> => {
    const { result } = await evaluateStage(context, features, name, source);
    tested.push({ name, role, model: source.model, evaluations: result });
  };

  const teacherArtifact = await teacherStage(context, features);
  const files = teacherFiles(recipe, teacherArtifact);
  const teacher: Source = { model: files.model, hash: teacherArtifact.hash };
  const logs = [{ stage: 'teacher', path: files.log }];
  await test('teacher', 'teacher', teacher);

  let current = teacher;
  let search: Awaited<ReturnType<typeof importanceStage>> | undefined;
  if (recipe.importance !== undefined) {
    search = await importanceStage(context, features, teacher);
    const { artifact, result } = search;
    current = sourceOf(await pruneStage(context, teacher, artifact, result.kept));
    await test('pruned', 'step', current);
  }
  if (recipe.heal !== undefined) {
    const teaches = recipe.heal.teacherTexts;
    const texts = teaches ? await distillStage(context, features, teacher) : undefined;
    const healed = await healStage(context, features, current, texts);
    current = sourceOf(healed);
    logs.push({ stage: 'healing', path: logPath(healed) });
    await test('healed', 'step', current);
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
  const report = writeReport(context, { yaml, tested, timings, logs, search: search?.result });
  return { dir: context.folder.dir, student: current.model, ...report };
}

/** Follows the teacher's own recipe and puts what it made in the place of the checkpoint. */
async function trainTeacher({ teacher }: Recipe, options: RunOptions): Promise<void> {
  if (teacher.madeBy === undefined) {
    throw new RecipeError('the recipe does not say how its teacher was made (teacher.madeBy)');
  }
  const { dir } = await runRecipe(teacher.madeBy, { ...options, fromScratch: false });
  teacher.checkpoint = resolve(dir, 'teacher', 'model');
  teacher.log = resolve(dir, 'teacher', 'log.jsonl');
}

function logPath(artifact: Artifact): string {
  return resolve(artifact.dir, 'log.jsonl');
}

/** What the recipe says of the teacher, held against it before any work. */
function checkTeacher({ teacher, importance }: Recipe): void {
  const { checkpoint, random } = teacher;
  if (checkpoint !== undefined && !existsSync(checkpoint)) {
    throw fileError('read', checkpoint, { code: 'ENOENT' });
  }
  if (importance === undefined) return;
  const layers = random?.text.num_hidden_layers ?? readConfig(checkpoint!).text.numHiddenLayers;
  checkRemoval(layers, importance);
}

async function prepare(recipe: Recipe, folder: RunFolder, options: RunOptions): Promise<Context> {
  const { corpus: settings } = recipe;
  let dir = settings.path;
  if (dir === undefined) {
    dir = demoCorpusDir();
    const onProgress = progressOf({ options }, 'corpus');
    await ensureDemoCorpus(dir, { ...settings.demo, onProgress, signal: options.signal });
  }
  const corpus = openCorpus(dir);
  const names = [...new Set([settings.train, settings.dev, ...settings.test])];
  if (names.length !== settings.test.length + 2) {
    throw new RecipeError('corpus: train, dev and test must be different splits');
  }
  const { targets } = corpus.description.languages;
  const missing = recipe.languages.find((language) => !targets.includes(language));
  if (missing !== undefined) {
    throw new RecipeError(
      `languages: ${dir} has no translations into ${missing}; it has ${targets.join(', ')}`,
    );
  }
  const splits: Record<string, Utterance[]> = {};
  for (const name of names) {
    const utterances = corpus.read(name);
    if (utterances.length === 0) {
      throw new CorpusError(`${dir}: the split '${name}' has no utterance; the recipe uses it`);
    }
    splits[name] = utterances;
  }
  checkDisjoint(splits, settings.test);
  checkTeacher(recipe);
  const corpusHash = hashOf([corpus.description, splits]);
  return { recipe, folder, corpus, corpusHash, splits, options };
}
