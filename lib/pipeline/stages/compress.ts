/** The stages between teacher and student. Each reads checkpoints and writes one artifact. */
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  finetune,
  isTraceOf,
  pruneCheckpoint,
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
import { adapterFolder, readConfig, saveModel } from '../../qwen2-audio';
import { leads } from '../../ranks';
import { progressOf, runStage, withGroup, type Context } from '../context';
import { openBase, openModel, type FeatureCache } from '../models';
import { hashOf, type Artifact } from '../run-folder';
import { logFile, trainingLog } from '../training-log';
import { hashed, training } from './training';

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

/** A search in one of several rounds. */
interface Round {
  /** Of the stage. */
  name: string;
  remove: number;
  protectedLayers: number[];
}

/**
 * Searches for the layers that the task does not need, on the dev split.
 * @param round the recipe's whole search unless given
 */
export async function importanceStage(
  context: Context,
  features: FeatureCache,
  source: Source,
  round?: Round,
): Promise<{ artifact: Artifact; result: ImportanceResult }> {
  const { recipe, corpusHash } = context;
  const { generation, languages, corpus } = recipe;
  const { remove, criterion, protectedLayers } = { ...recipe.importance!, ...round };
  const name = round?.name ?? 'importance';
  const inputs = {
    importance: { remove, criterion, protectedLayers },
    generation,
    languages,
    dev: corpus.dev,
    corpusHash,
    teacher: source.hash,
  };
  const search = { criterion, protectedLayers };
  const fingerprint = hashOf({ ...inputs, importance: search });
  const artifact = await runStage(context, name, inputs, async (target, work) => {
    const trace = join(work, traceFile);
    // What an earlier search of another length has scored is not scored again.
    const earlier = context.folder
      .places(name)
      .map((place) => join(place, traceFile))
      .find((path) => isTraceOf(path, fingerprint));
    const takes = leads(context.options.ranks) && earlier !== undefined && !existsSync(trace);
    if (takes) copyFileSync(earlier, trace);
    using opened = openModel(source.model, { device: context.options.device });
    const { model, processor } = opened;
    const dev = context.splits[corpus.dev]!;
    const result = await searchLayers(model, features.for(processor), dev, languages, {
      ...inputs.importance,
      ...generation,
      trace,
      fingerprint,
      signal: context.options.signal,
      onWarning: context.options.onWarning,
      ranks: context.options.ranks,
      onProgress: progressOf(context, name),
    });
    if (!leads(context.options.ranks)) return;
    copyFileSync(trace, join(target, traceFile));
    writeResult(target, importanceFile, result);
  });
  return { artifact, result: readResult(artifact, importanceFile) };
}

/**
 * Writes a model without some of its layers, from file to file.
 * @param chosen stands for the choice in hashes
 */
export function pruneStage(
  context: Context,
  source: Source,
  chosen: { importance: string } | { middle: readonly number[] },
  kept: readonly number[],
  name: string = 'pruned',
): Promise<Artifact> {
  const inputs = { teacher: source.hash, ...chosen };
  const make = async (target: string): Promise<void> => {
    const { numHiddenLayers } = readConfig(source.model).text;
    const layers = Array.from({ length: numHiddenLayers }, (_, i) => i);
    const removed = layers.filter((layer) => !kept.includes(layer));
    const progress = progressOf(context, 'pruning (MB)');
    await pruneCheckpoint(source.model, removed, join(target, 'model'), {
      allowEdges: true, // Which ones may go was said when they were chosen.
      signal: context.options.signal,
      onProgress: (done, total) => progress(Math.floor(done / 1e6), Math.ceil(total / 1e6)),
    });
  };
  return runStage(context, name, inputs, make, 'alone');
}

/**
 * Full fine-tuning of the pruned model on the references, and on the teacher's texts if given.
 * @param round where a recipe heals several times
 */
export function healStage(
  context: Context,
  features: FeatureCache,
  pruned: Source,
  distilled?: Distillation,
  round?: number,
): Promise<Artifact> {
  const { recipe, corpusHash } = context;
  const { languages, seed, corpus } = recipe;
  // How often is healed is told by what is healed.
  const { every: _, ...heal } = recipe.heal!;
  const targets = distilled?.artifact.hash;
  const inputs = { heal: hashed(heal), languages, seed, corpusHash, pruned: pruned.hash, targets };
  const [name, label] =
    round === undefined ? ['healed', 'healing'] : [`healed-${round}`, `healing ${round}`];
  return runStage(context, name, inputs, async (target, work, hash) => {
    const { device } = context.options;
    using opened = openBase(pruned.model, { dtype: heal.weights, device });
    const { model, processor } = opened;
    const items = trainingItems(context.splits[corpus.train]!, languages, textsOf(distilled));
    using log = trainingLog(context, label, work);
    const options = training(context, log, heal, work, hash);
    await withGroup(context, (group) =>
      finetune(model, items, features.for(processor), { ...options, group }),
    );
    if (!leads(context.options.ranks)) return;
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
  const make = async (target: string): Promise<void> => {
    const progress = progressOf(context, 'quantising (MB)');
    await quantizeCheckpoint(source.model, join(target, 'model'), {
      ...quantize,
      // The weights are quantised from the dtype they are stored in, as transformers does.
      dtype: 'bfloat16',
      signal: context.options.signal,
      onProgress: (done, total) => progress(Math.floor(done / 1e6), Math.ceil(total / 1e6)),
    });
  };
  return runStage(context, 'quantized', inputs, make, 'alone');
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
    using opened = openModel(teacher.model, { device: context.options.device });
    const { model, processor } = opened;
    const train = context.splits[corpus.train]!;
    const result: Distilled = {};
    for (const language of languages) {
      const translated = await translateSplit(model, features.for(processor), train, language, {
        ...generation,
        signal: context.options.signal,
        ranks: context.options.ranks,
        onProgress: progressOf(context, `teacher translates into ${language}`),
      });
      result[language] = selectTargets(translated, references(train, language), { minChrf });
    }
    if (leads(context.options.ranks)) writeResult(target, targetsFile, result);
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
  const { languages, seed, corpus } = recipe;
  const targets = distilled.artifact.hash;
  // Of further corpora their content counts, not where they lie.
  const { extra: _, ...distill } = recipe.distill!;
  const extra = context.extra?.utterances ?? [];
  const inputs = {
    distill: hashed(distill),
    languages,
    seed,
    corpusHash,
    quantized: quantized.hash,
    targets,
    extra: context.extraHash,
  };
  return runStage(context, 'student', inputs, async (target, work, hash) => {
    const { device } = context.options;
    using opened = openBase(quantized.model, { dtype: distill.weights, device });
    const { model, processor } = opened;
    const items = [
      ...trainingItems(context.splits[corpus.train]!, languages, textsOf(distilled)),
      ...trainingItems(extra, languages),
    ];
    using log = trainingLog(context, 'QLoRA', work);
    const options = training(context, log, distill, work, hash);
    const adapter = await withGroup(context, (group) =>
      finetune(model, items, features.for(processor), { ...options, group, lora: distill.lora }),
    );
    if (!leads(context.options.ranks)) return adapter!.dispose();
    saveModel(join(target, 'model'), model, processor, {
      dtype: 'bfloat16',
      targetLanguages: languages,
    });
    saveAdapter(join(target, 'model', adapterFolder), adapter!, { dtype: 'bfloat16' });
    copyFileSync(join(work, logFile), join(target, logFile));
    adapter!.dispose();
  });
}
