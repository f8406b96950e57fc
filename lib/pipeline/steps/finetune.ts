/** Training a checkpoint, or an adapter over it, on a corpus: one step of the method by itself. */
import { copyFileSync, existsSync, renameSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  CompressionError,
  finetune,
  trainingItems,
  type FinetuneOptions as TrainingOptions,
} from '../../compress';
import { fileError, makeFolder, syncFolder } from '../../files';
import { parseHubName } from '../../hub';
import { saveAdapter } from '../../lora';
import { saveModel } from '../../qwen2-audio';
import { Features } from '../../train/examples';
import type { WeightDtype } from '../../train/optimizers';
import { progressOf, type RunOptions } from '../context';
import { takeDevice } from '../device';
import { lockRunFolder } from '../lock';
import { checkpointHash, openBase } from '../models';
import { hashOf } from '../run-folder';
import { logFile, trainingLog } from '../training-log';
import { checkpointFolder, type HubSource } from './checkpoint';
import { openDataset, type DatasetOptions } from './dataset';
import { readTeacherTexts } from './distill';

/** What a checkpoint is trained on, how, and how often its state is saved. */
export interface FinetuneOptions
  extends
    DatasetOptions,
    HubSource,
    Pick<RunOptions, 'onMetrics' | 'onWarning' | 'tensorboard' | 'device'> {
  /** As of `finetune`; with `lora`, an adapter is written in place of a checkpoint. */
  training: Omit<
    TrainingOptions,
    'onStep' | 'onResume' | 'onSave' | 'onWarning' | 'signal' | 'state'
  > & {
    /** What weights and gradients are held in; float32 unless given. */
    weights?: WeightDtype;
  };
  /** What `distillCorpus` wrote: a teacher's translations to learn beside the references. */
  teacherTexts?: string;
  /** Steps between two checkpoints that a killed run goes on from; 100 by default. */
  saveEvery?: number;
  /** Checkpoints that are kept; 2 by default. */
  keep?: number;
}

/** Where the result of a training is. */
export interface FinetuneResult {
  output: string;
  /** An adapter in PEFT's format, or a checkpoint. */
  kind: 'adapter' | 'checkpoint';
  /** The training log, a line a step. */
  log: string;
}

/**
 * Fine-tunes a checkpoint and writes the result to `output`, whole or not at all. What a killed run
 * had done waits in `<output>.work`; the same call goes on from there.
 * @param pathOrHubName a folder, or `owner/name[@revision]` on the Hugging Face hub
 * @throws CompressionError if `output` exists; PareError of the room that failed
 */
export async function finetuneCheckpoint(
  pathOrHubName: string,
  output: string,
  options: FinetuneOptions,
): Promise<FinetuneResult> {
  await takeDevice(options);
  if (existsSync(output)) {
    throw new CompressionError(`${output} exists already; choose another folder`);
  }
  const { corpus, utterances, languages } = await openDataset(options);
  const { training, signal, onWarning, teacherTexts, saveEvery = 100, keep } = options;
  const texts =
    teacherTexts === undefined
      ? undefined
      : readTeacherTexts(teacherTexts, utterances, options.split);
  const items = trainingItems(utterances, languages, texts);
  const dir = await checkpointFolder(pathOrHubName, options);
  const work = `${output}.work`;
  try {
    makeFolder(work);
  } catch (error) {
    throw fileError('write', output, error);
  }
  const unlock = lockRunFolder(work);
  try {
    if (existsSync(output)) {
      // Another process has made it since, and taken the work away.
      rmSync(work, { recursive: true, force: true });
      throw new CompressionError(`${output} exists already; choose another folder`);
    }
    using opened = openBase(dir, { dtype: training.weights, device: options.device });
    const { model, processor } = opened;
    const onProgress = progressOf({ options }, 'reading audio');
    const features = new Features(corpus, processor, { onProgress, signal });
    using log = trainingLog({ options }, 'training', work);
    const fingerprint = hashOf([checkpointHash(dir), corpus.description, items, training]);
    const { onStep, onResume, onSave } = log;
    const checkpoints = join(work, 'checkpoints');
    const adapter = await finetune(model, items, features, {
      ...training,
      ...{ onStep, onResume, onSave, signal, onWarning },
      state: { dir: checkpoints, everySteps: saveEvery, keep, fingerprint },
    });
    const made = join(work, 'new');
    rmSync(made, { recursive: true, force: true });
    if (adapter === undefined) {
      saveModel(made, model, processor, { dtype: 'bfloat16', targetLanguages: languages });
    } else {
      // Of one on the hub its name there, by which PEFT fetches it: the cache is this machine's.
      const base = dir === pathOrHubName ? dir : parseHubName(pathOrHubName)!.name;
      saveAdapter(made, adapter, { dtype: 'bfloat16', baseModelNameOrPath: base });
      adapter.dispose();
    }
    copyFileSync(join(work, logFile), join(made, logFile));
    renameSync(made, output);
    syncFolder(dirname(output));
    const kind = adapter === undefined ? 'checkpoint' : 'adapter';
    rmSync(work, { recursive: true, force: true });
    return { output, kind, log: join(output, logFile) };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw typeof code === 'string' && /^E[A-Z]+$/.test(code)
      ? fileError('write', output, error)
      : error;
  } finally {
    unlock();
    removeEmpty(work);
  }
}

/** Removes a work folder in which nothing waits. */
function removeEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch {
    // It is gone, or holds what the same call goes on from.
  }
}
