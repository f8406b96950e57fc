/** The teacher: a checkpoint as it is, fine-tuned, or trained from a random start. */
import { copyFileSync, existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { finetune, randomModel, trainTokenizer } from '../../compress';
import { mergeLora, saveAdapter } from '../../lora';
import { Linear4bit } from '../../nf4';
import { adapterFolder, Processor, saveModel } from '../../qwen2-audio';
import { Tokenizer } from '../../text';
import { transcribe } from '../../train/examples';
import { JsonLines } from '../../json-lines';
import type { TrainingLogEntry } from '../../train/loop';
import type { TrainingItem } from '../../train/translation';
import { leads } from '../../ranks';
import { runStage, withGroup, type Context } from '../context';
import { checkpointHash, openBase, type FeatureCache, type LoadedModel } from '../models';
import type { Recipe } from '../recipe-schema';
import type { Artifact } from '../run-folder';
import { logFile, trainingLog } from '../training-log';
import { hashed, training } from './training';

export async function teacherStage(context: Context, features: FeatureCache): Promise<Artifact> {
  const { recipe, corpusHash } = context;
  const { teacher, languages, seed } = recipe;
  const { random, train, checkpoint } = teacher;
  if (train === undefined) return given(context, checkpoint!);
  const start = checkpoint === undefined ? 'random' : checkpointHash(checkpoint);
  const inputs = { random, train: hashed(train), start, corpusHash, languages, seed };
  return runStage(context, 'teacher', inputs, async (target, work, hash) => {
    using opened = await startOf(context, work);
    const { model, processor } = opened;
    using log = trainingLog(context, 'teacher', work);
    const options = training(context, log, train, work, hash);
    const adapter = await withGroup(context, (group) =>
      finetune(model, items(context), features.for(processor), { ...options, group }),
    );
    if (!leads(context.options.ranks)) return adapter?.dispose();
    // Merging into a 4-bit base would spoil it: there the adapter stays one, as in a student.
    const packed = [...model.namedModules()].some(([, module]) => module instanceof Linear4bit);
    if (adapter !== undefined && !packed) mergeLora(adapter);
    saveModel(join(target, 'model'), model, processor, {
      dtype: 'bfloat16',
      targetLanguages: languages,
    });
    if (adapter !== undefined && packed) {
      saveAdapter(join(target, 'model', adapterFolder), adapter, { dtype: 'bfloat16' });
    }
    adapter?.dispose();
    copyFileSync(join(work, logFile), join(target, logFile));
  });
}

/** A checkpoint that is the teacher already; it stays where it is. */
function given(context: Context, dir: string): Artifact {
  const artifact = { dir, hash: checkpointHash(dir), seconds: 0, reused: true, given: true };
  context.options.onStage?.('teacher', artifact);
  return artifact;
}

/** Where the teacher's checkpoint is, and its log, if there is one. */
export function teacherFiles(recipe: Recipe, artifact: Artifact): { model: string; log?: string } {
  if (recipe.teacher.train !== undefined) {
    return { model: join(artifact.dir, 'model'), log: join(artifact.dir, logFile) };
  }
  return { model: artifact.dir, log: recipe.teacher.log };
}

async function startOf(context: Context, work: string): Promise<LoadedModel> {
  const { teacher, languages, corpus, seed } = context.recipe;
  const { ranks, device = 'cpu' } = context.options;
  const dtype = teacher.train?.weights;
  if (teacher.checkpoint !== undefined) return openBase(teacher.checkpoint, { dtype, device });
  const { vocabSize, ...shape } = teacher.random!;
  const tokenizerDir = join(work, 'tokenizer');
  if (leads(ranks) && !existsSync(tokenizerDir)) {
    // By a rename: a run that is killed here must not find half of the files.
    const half = `${tokenizerDir}.new`;
    rmSync(half, { recursive: true, force: true });
    trainTokenizer(half, context.splits[corpus.train]!, languages, vocabSize);
    renameSync(half, tokenizerDir);
  }
  await ranks?.leaderDoes(() => null);
  const processor = new Processor({
    tokenizer: Tokenizer.fromPretrained(tokenizerDir),
    maxSourcePositions: shape.audio.max_source_positions,
  });
  const model = randomModel(shape, processor, seed, dtype).to(device);
  return { model, processor, [Symbol.dispose]: () => model.dispose() };
}

function items(context: Context): TrainingItem[] {
  const { corpus, languages, teacher } = context.recipe;
  const asked = (teacher.train?.transcribeRate ?? 0) > 0;
  return context.splits[corpus.train]!.map((utterance) => ({
    utterance,
    targets: [
      ...(asked ? [{ task: transcribe, text: utterance.text }] : []),
      ...languages.map((task) => ({ task, text: utterance.translations[task]! })),
    ],
  }));
}

/** Reads a training log, if there is one. */
export function readLog(path: string | undefined): TrainingLogEntry[] {
  return path === undefined ? [] : new JsonLines<TrainingLogEntry>(path).read();
}
