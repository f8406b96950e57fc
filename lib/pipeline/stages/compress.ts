/** The stages between teacher and student. Each reads checkpoints and writes one artifact. */
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  finetune,
  isTraceOf,
  quantizeCheckpoint,
  references,
  searchLayers,
  selectTargets,
  trainingItems,
  translateSplit,
  type DistilledTargets,
  type ImportanceResult,
} from '../../compress';
import { writeFileAtomic } from '../../files';
import { saveAdapter } from '../../lora';
import { adapterFolder, saveModel } from '../../qwen2-audio';
import { progressOf, runStage, type Context } from '../context';
import { openBase, openModel, type FeatureCache } from '../models';
import type { TrainingSettings } from '../recipe';
import { hashOf, type Artifact } from '../run-folder';
import { trainingLog } from '../training-log';
import { logFile } from './teacher';

/** A checkpoint and what stands for its content in hashes. */
export interface Source {
  model: string;
  hash: string;
}

/** The source that a stage's artifact is for the next one. */
export function sourceOf(artifact: Artifact): Source {
  return { model: join(artifact.dir, 'model'), hash: artifact.hash };
}

const importanceFile = 'importance.json';
const traceFile = 'trace.jsonl';
const targetsFile = 'targets.json';

function readResult<T>(artifact: Artifact, file: string): T {
  return JSON.parse(readFileSync(join(artifact.dir, file), 'utf8')) as T;
}

function writeResult(dir: string, file: string, result: unknown): void {
  writeFileAtomic(join(dir, file), `${JSON.stringify(result)}\n`);
}

/** Searches for the layers that the task does not need, on the dev split. */
export async function importanceStage(
  context: Context,
  features: FeatureCache,
  teacher: Source,
): Promise<{ artifact: Artifact; result: ImportanceResult }> {
  const { recipe, corpusHash } = context;
  const { importance, generation, languages, corpus } = recipe;
  const inputs = {
    importance,
    generation,
    languages,
    dev: corpus.dev,
    corpusHash,
    teacher: teacher.hash,
  };
  const { remove: _, ...search } = importance!;
  const fingerprint = hashOf({ ...inputs, importance: search });
  const artifact = await runStage(context, 'importance', inputs, async (target, work) => {
    const trace = join(work, traceFile);
    // What an earlier search of another length has scored is not scored again.
    const earlier = join(context.folder.dir, 'importance', traceFile);
    if (!existsSync(trace) && isTraceOf(earlier, fingerprint)) copyFileSync(earlier, trace);
    using opened = openModel(teacher.model);
    const { model, processor } = opened;
    const dev = context.splits[corpus.dev]!;
    const result = await searchLayers(model, features.for(processor), dev, languages, {
      ...importance!,
      ...generation,
      trace,
      fingerprint,
      signal: context.options.signal,
      onProgress: progressOf(context, 'importance'),
    });
    copyFileSync(trace, join(target, traceFile));
    writeResult(target, importanceFile, result);
  });
  return { artifact, result: readResult(artifact, importanceFile) };
}

/** Writes the teacher without the layers that the search removed. */
export function pruneStage(
  context: Context,
  teacher: Source,
  importance: Artifact,
  kept: readonly number[],
): Promise<Artifact> {
  const inputs = { teacher: teacher.hash, importance: importance.hash };
  return runStage(context, 'pruned', inputs, async (target) => {
    using opened = openBase(teacher.model);
    const { model, processor } = opened;
    saveModel(join(target, 'model'), model.withLayers(kept), processor, { dtype: 'bfloat16' });
    return Promise.resolve();
  });
}

function training(
  context: Context,
  label: string,
  settings: TrainingSettings,
  work: string,
  hash: string,
): Parameters<typeof finetune>[3] {
  return {
    seed: context.recipe.seed,
    ...settings,
    onStep: trainingLog(context, label, join(work, logFile)),
    signal: context.options.signal,
    state: {
      path: join(work, 'state.safetensors'),
      everySteps: settings.saveEvery,
      fingerprint: hash,
    },
  };
}

/** Full fine-tuning of the pruned model on the references, and on the teacher's texts if given. */
export function healStage(
  context: Context,
  features: FeatureCache,
  pruned: Source,
  distilled?: Distillation,
): Promise<Artifact> {
  const { recipe, corpusHash } = context;
  const { heal, languages, seed, corpus } = recipe;
  const targets = distilled?.artifact.hash;
  const inputs = { heal, languages, seed, corpusHash, pruned: pruned.hash, targets };
  return runStage(context, 'healed', inputs, async (target, work, hash) => {
    using opened = openBase(pruned.model);
    const { model, processor } = opened;
    const items = trainingItems(context.splits[corpus.train]!, languages, textsOf(distilled));
    const options = training(context, 'healing', heal!, work, hash);
    await finetune(model, items, features.for(processor), options);
    saveModel(join(target, 'model'), model, processor, {
      dtype: 'bfloat16',
      targetLanguages: languages,
    });
    copyFileSync(join(work, logFile), join(target, logFile));
  });
}

/** NF4 for every linear layer, and for what the recipe adds. */
export function quantizeStage(context: Context, source: Source): Promise<Artifact> {
  const { quantize } = context.recipe;
  const inputs = { quantize, source: source.hash };
  return runStage(context, 'quantized', inputs, async (target) => {
    const progress = progressOf(context, 'quantising (MB)');
    await quantizeCheckpoint(source.model, join(target, 'model'), {
      ...quantize,
      // The weights are quantised from the dtype they are stored in, as transformers does.
      dtype: 'bfloat16',
      signal: context.options.signal,
      onProgress: (done, total) => progress(Math.floor(done / 1e6), Math.ceil(total / 1e6)),
    });
  });
}

type Distilled = Record<string, DistilledTargets>;

/** What the distillation stage made. */
export interface Distillation {
  artifact: Artifact;
  result: Distilled;
}

/** The teacher's texts by language; JSON has no undefined, so what was dropped is null in the file. */
function textsOf(distilled?: Distillation): Record<string, (string | undefined)[]> {
  return Object.fromEntries(
    Object.entries(distilled?.result ?? {}).map(([language, { texts }]) => [
      language,
      texts.map((text) => text ?? undefined),
    ]),
  );
}

/** The teacher's translations of the training audio, filtered. */
export async function distillStage(
  context: Context,
  features: FeatureCache,
  teacher: Source,
): Promise<Distillation> {
  const { recipe, corpusHash } = context;
  const { distill, generation, languages, corpus } = recipe;
  const { minChrf } = distill!;
  const inputs = { minChrf, generation, languages, corpusHash, teacher: teacher.hash };
  const artifact = await runStage(context, 'distilled', inputs, async (target) => {
    using opened = openModel(teacher.model);
    const { model, processor } = opened;
    const train = context.splits[corpus.train]!;
    const result: Distilled = {};
    for (const language of languages) {
      const translated = await translateSplit(model, features.for(processor), train, language, {
        ...generation,
        signal: context.options.signal,
        onProgress: progressOf(context, `teacher translates into ${language}`),
      });
      result[language] = selectTargets(translated, references(train, language), { minChrf });
    }
    writeResult(target, targetsFile, result);
  });
  return { artifact, result: readResult(artifact, targetsFile) };
}

/** QLoRA over the 4-bit base, on the references and the teacher's translations. */
export function studentStage(
  context: Context,
  features: FeatureCache,
  quantized: Source,
  distilled: Distillation,
): Promise<Artifact> {
  const { recipe, corpusHash } = context;
  const { distill, languages, seed, corpus } = recipe;
  const targets = distilled.artifact.hash;
  const inputs = { distill, languages, seed, corpusHash, quantized: quantized.hash, targets };
  return runStage(context, 'student', inputs, async (target, work, hash) => {
    using opened = openBase(quantized.model);
    const { model, processor } = opened;
    const items = trainingItems(context.splits[corpus.train]!, languages, textsOf(distilled));
    const options = training(context, 'QLoRA', distill!, work, hash);
    const adapter = await finetune(model, items, features.for(processor), {
      ...options,
      lora: distill!.lora,
    });
    saveModel(join(target, 'model'), model, processor, {
      dtype: 'bfloat16',
      targetLanguages: languages,
    });
    saveAdapter(join(target, 'model', adapterFolder), adapter!, { dtype: 'bfloat16' });
    copyFileSync(join(work, logFile), join(target, logFile));
    adapter!.dispose();
  });
}
