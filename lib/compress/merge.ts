/** Merging an adapter into a checkpoint, with a report of what that costs. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { CorpusError, openCorpus, type Corpus, type CorpusSource, type Utterance } from '../data';
import { checkWritable } from '../files';
import { baseStateDict, loadAdapter } from '../lora';
import { account } from '../qwen2-audio/accounting';
import {
  adapterOf,
  loadModel,
  Processor,
  readConfig,
  saveModel,
  type Qwen2Audio,
} from '../qwen2-audio';
import { resolveSource, type CheckpointSource } from '../qwen2-audio/resolve';
import { bytesOf, planShards } from '../qwen2-audio/shards';
import { findLanguage, findTarget } from '../text';
import { Features } from '../train/examples';
import { CompressionError } from './error';
import { agreement, heldOutLoss, type HeldOut } from './held-out';
import {
  recommendForm,
  type FormReport,
  type MergedForm,
  type Recommendation,
} from './merge-report';
import { mergeInFullPrecision, mergeInNf4 } from './merge-weights';

/** Where the forms are compared. */
export interface DevSet {
  /** What `openCorpus` takes, or a corpus that is open. */
  corpus: string | CorpusSource | Corpus;
  /** `dev` unless given. */
  split?: string;
  /** Names or codes; all of the corpus unless given. */
  languages?: readonly string[];
  /** Utterances at most, from the beginning. */
  limit?: number;
  /** Utterances heard together; 8 unless given. */
  batchSize?: number;
}

/** What an adapter is merged into, and where the result is measured. */
export interface MergeOptions extends CheckpointSource {
  /** Folder of the adapter; the checkpoint's own, in `adapter/`, unless given. */
  adapter?: string;
  /** Writes the linear layers in 4 bits. Without it, everything has the dtype of the base's norms. */
  quantize?: 'nf4';
  /** Without it, nothing is measured and nothing recommended. */
  dev?: DevSet;
  /** Hears of utterances read and measured. */
  onProgress?: (label: string, done: number, total: number) => void;
}

/** What was written, and how it compares with the other forms; the content of merge.json. */
export interface MergeReport {
  model: string;
  adapter: string;
  output: string;
  /** What `output` is. */
  written: Exclude<MergedForm, 'adapter'>;
  forms: FormReport[];
  /** Null where nothing was measured. */
  dev: { split: string; languages: string[]; utterances: number; tokens: number } | null;
  recommended: Recommendation | null;
}

/** The file beside the merged weights that holds the {@link MergeReport}. */
export const mergeReportFile = 'merge.json';

/**
 * Merges an adapter into its base and writes a new checkpoint without one, whole or not at all:
 * into the base's own precision, into bfloat16 (or what the norms have) where the base is in 4 bits,
 * or, with `quantize`, into 4 bits again. With a dev set, all three forms of the model are measured
 * (loss, token agreement with the adapter form, bytes) before anything is written, since rounding to
 * 4 bits again can cost more than the adapter gained.
 * @param pathOrHubName a folder, or `owner/name[@revision]` on the Hugging Face hub
 * @returns the report, which is also in `merge.json` of the new folder
 * @throws CompressionError if there is no adapter, `output` exists or the dev set has no reference
 * in a language; HubError, CorpusError, LoraError, CheckpointError, FileError naming the file
 */
export async function mergeCheckpoint(
  pathOrHubName: string,
  output: string,
  options: MergeOptions = {},
): Promise<MergeReport> {
  if (existsSync(output)) {
    throw new CompressionError(`${output} exists already; choose another folder`);
  }
  checkWritable(output);
  const dir = await resolveSource(pathOrHubName, options);
  readConfig(dir); // a folder that is no checkpoint is named as that
  const adapter = adapterOf(dir, options.adapter);
  if (adapter === undefined) {
    throw new CompressionError(`${pathOrHubName} has no adapter to merge; give one (--adapter)`);
  }
  const dev = options.dev && (await openDev(options.dev, options));
  const written = options.quantize === undefined ? 'merged' : 'requantized';
  const other = written === 'merged' ? 'requantized' : 'merged';
  // What is written comes last, when all is measured.
  const order: MergedForm[] = dev === undefined ? [written] : ['adapter', other, written];
  const reports = new Map<MergedForm, FormReport>();
  const note = (form: MergedForm, bytes: number, measured?: HeldOut): void => {
    const loss = measured?.loss ?? null;
    const tokenAgreement = measured === undefined ? null : agreement(reference!, measured);
    reports.set(form, { form, bytes, loss, tokenAgreement });
  };
  let reference: HeldOut | undefined;
  let report: MergeReport | undefined;
  if (dev === undefined) note('adapter', account(dir, { adapter }).bytes);
  for (const form of order) {
    // Loading and writing wait for nothing: here an interruption is heard.
    await setImmediate();
    options.signal?.throwIfAborted();
    using model = openForm(form, dir, adapter);
    const measured = dev && (await dev.measure(model, dir, form, options));
    reference ??= measured;
    const isAdapter = form === 'adapter';
    note(form, isAdapter ? account(dir, { adapter }).bytes : checkpointBytes(model), measured);
    if (form !== written) continue;
    await setImmediate();
    options.signal?.throwIfAborted();
    const forms = (['adapter', 'merged', 'requantized'] as const).flatMap(
      (name) => reports.get(name) ?? [],
    );
    report = {
      model: pathOrHubName,
      adapter,
      output,
      written,
      forms,
      dev: dev && reference ? { ...dev.description, tokens: reference.tokens } : null,
      recommended: recommendForm(forms),
    };
    const files = { [mergeReportFile]: report };
    saveModel(output, model, processorOf(dir, model), { files });
  }
  return report!;
}

/** The model in one of its forms, weights in the dtypes they are stored in. */
function openForm(form: MergedForm, dir: string, adapterDir: string): Qwen2Audio {
  const model = loadModel(dir);
  try {
    const adapter = loadAdapter(adapterDir, model);
    if (form === 'adapter') return model;
    if (form === 'merged') mergeInFullPrecision(model, adapter);
    else mergeInNf4(model, adapter);
    adapter.dispose();
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

function processorOf(dir: string, model: Qwen2Audio): Processor | undefined {
  const has = existsSync(join(dir, 'tokenizer.json'));
  return has ? Processor.fromPretrained(dir, model.config) : undefined;
}

interface OpenDev {
  description: { split: string; languages: string[]; utterances: number };
  measure(
    model: Qwen2Audio,
    dir: string,
    form: MergedForm,
    options: Pick<MergeOptions, 'signal' | 'onProgress'>,
  ): Promise<HeldOut>;
}

/** The dev set, read and checked before any weight is. */
async function openDev(
  { corpus: given, split = 'dev', languages, limit, batchSize }: DevSet,
  { signal, env }: Pick<MergeOptions, 'signal' | 'env'>,
): Promise<OpenDev> {
  const corpus = await openCorpus(given, { splits: [split], signal, env });
  const { targets } = corpus.description.languages;
  const named = (languages ?? targets).map((name) => {
    const code = findTarget(name, targets);
    if (code !== undefined) return code;
    throw new CompressionError(
      `${corpus.dir} has no references in ${findLanguage(name)?.code ?? name}; it has ` +
        targets.join(', '),
    );
  });
  const codes = [...new Set(named)];
  const utterances: Utterance[] = (await corpus.read(split, { signal })).slice(0, limit);
  if (utterances.length === 0) {
    throw new CorpusError(`${corpus.dir}: the split '${split}' has no utterance; choose another`);
  }
  let features: Features | undefined;
  return {
    description: { split, languages: codes, utterances: utterances.length },
    measure: (model, dir, form, { signal, onProgress }) => {
      // Read once for all forms, which have one processor.
      features ??= new Features(corpus, Processor.fromPretrained(dir, model.config), {
        signal,
        onProgress: (done, total) => onProgress?.('reading speech', done, total),
      });
      return heldOutLoss(model, features, utterances, codes, {
        batchSize,
        signal,
        onProgress: (done, total) => onProgress?.(`measuring ${form}`, done, total),
      });
    },
  };
}

/** Of the weight files that `saveModel` would write. */
function checkpointBytes(model: Qwen2Audio): number {
  const tensors = Array.from(baseStateDict(model), ([name, { dtype, shape }]) => {
    return { name, dtype, shape };
  });
  const header = planShards(tensors).reduce((sum, { headerLength }) => sum + headerLength, 0);
  return tensors.reduce((sum, tensor) => sum + bytesOf(tensor), header);
}
