import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileError, makeFolder, syncFolder, temporaryName } from '../../files';
import { encodeWav } from '../../audio/wav';
import { PareError } from '../../errors';
import type { CorpusDescription, Utterance } from '../corpus';
import { CorpusError } from '../error';
import { seededRandom } from '../random';
import { clipRate, makeClip } from './clip';
import { targetLanguages } from './phrases';
import { planCorpus, splitPhrases, type DemoCounts, type PlannedUtterance } from './plan';
import { speakBatches } from './pool';

export { allPhrases, targetLanguages, type Phrase, type PhraseKind } from './phrases';
export { trainingVoices, heldOutVoices, type Voice } from './voices';

/** Raised whenever the same settings would give other samples. */
const version = 2;
const corpusName = 'pare-demo';
/** Utterances that one process speaks in a row. */
const batchSize = 64;

/** What to make. The defaults are the demo's. */
export interface DemoCorpusOptions {
  /** Default 1. */
  seed?: number;
  /** Utterances to train on; default 4000. */
  train?: number;
  /** Default 160. */
  dev?: number;
  /** Default 200. */
  test?: number;
  /** Default 200. */
  testVoices?: number;
  /** Child processes that speak; default 2. */
  processes?: number;
  /** Called after each batch with the utterances done and their number. */
  onProgress?: (done: number, total: number) => void;
  /** Stops within a batch's time and leaves nothing behind. */
  signal?: AbortSignal;
}

/** The prompts of the three tasks that the demo's teacher learns. */
export const demoPrompts: {
  system: string;
  transcribe: string;
  translate: Record<'de' | 'zh', string>;
} = {
  system: 'You are a professional translator.',
  transcribe: 'Transcribe the English speech:',
  translate: {
    de: 'Translate the English speech into German:',
    zh: 'Translate the English speech into Chinese:',
  },
};

/**
 * All that the demo's tokenizer has to write: English, German and Chinese of every phrase that
 * training may see, and the prompts. Each text once.
 */
export function demoTexts(options: { seed?: number } = {}): string[] {
  const texts = splitPhrases(options.seed ?? 1).train.flatMap((phrase) => [
    phrase.text,
    ...targetLanguages.map((language) => phrase.translations[language]),
  ]);
  const { system, transcribe, translate } = demoPrompts;
  return [...new Set([system, transcribe, ...Object.values(translate), ...texts])];
}

/**
 * Makes the demo's corpus: English dates, times, durations and amounts, spoken by synthesisers,
 * with German and Chinese references from CLDR. Does nothing if `dir` already holds the very same
 * corpus; replaces one of other settings. Written beside `dir` and renamed when complete.
 *
 * @throws CorpusError if `dir` holds something else, or a synthesiser fails
 * @throws FileError if the disk refuses
 */
export async function makeDemoCorpus(dir: string, options: DemoCorpusOptions = {}): Promise<void> {
  const seed = options.seed ?? 1;
  const counts: DemoCounts = {
    train: options.train ?? 4000,
    dev: options.dev ?? 160,
    test: options.test ?? 200,
    testVoices: options.testVoices ?? 200,
  };
  const plan = planCorpus(seed, counts);
  // The plan holds the texts too: another version of CLDR makes another corpus.
  const hash = createHash('sha256').update(JSON.stringify({ version, plan })).digest('hex');
  if (existingHash(dir) === hash) {
    options.onProgress?.(plan.length, plan.length);
    return;
  }
  removeAbandoned(dir);
  const temporary = temporaryName(dir);
  try {
    makeFolder(temporary);
    const utterances = await speak(plan, temporary, seed, options);
    writeDescription(temporary, plan, utterances, { seed, ...counts, version, hash });
    rmSync(dir, { recursive: true, force: true });
    renameSync(temporary, dir);
    syncFolder(dirname(dir));
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    // Another process may have finished the same corpus in the meantime.
    if (existingHash(dir) === hash) return;
    throw error instanceof PareError || options.signal?.aborted
      ? error
      : fileError('write', dir, error);
  }
}

/** Speaks the plan into wave files and returns the manifest's lines in the plan's order. */
async function speak(
  plan: PlannedUtterance[],
  folder: string,
  seed: number,
  options: DemoCorpusOptions,
): Promise<Utterance[]> {
  for (const split of new Set(plan.map((utterance) => utterance.split))) {
    mkdirSync(join(folder, 'audio', split), { recursive: true });
  }
  const batches: PlannedUtterance[][] = [];
  for (let at = 0; at < plan.length; at += batchSize) batches.push(plan.slice(at, at + batchSize));
  const utterances: Utterance[] = new Array<Utterance>(plan.length);
  let done = 0;
  await speakBatches(
    batches.map((batch) => batch.map((utterance) => utterance.job)),
    options.processes ?? 2,
    (index, clips) => {
      batches[index]!.forEach(({ id, split, phrase, voice, clip }, i) => {
        const samples = makeClip(clips[i]!, clip, seededRandom(`${seed} ${id} clip`));
        const audio = `audio/${split}/${id}.wav`;
        writeFileSync(join(folder, audio), encodeWav(samples, clipRate));
        utterances[index * batchSize + i] = {
          id,
          audio,
          seconds: Number((samples.length / clipRate).toFixed(3)),
          speaker: voice.id,
          text: phrase.text,
          translations: phrase.translations,
          group: phrase.group,
        };
      });
      done += clips.length;
      options.onProgress?.(done, plan.length);
    },
    options.signal,
  );
  return utterances;
}

function writeDescription(
  folder: string,
  plan: PlannedUtterance[],
  utterances: Utterance[],
  generator: Record<string, unknown>,
): void {
  const description: CorpusDescription = {
    name: corpusName,
    version: String(version),
    sampleRate: clipRate,
    languages: { source: 'en', targets: [...targetLanguages] },
    splits: {},
    generator: { ...generator, icu: process.versions.icu, cldr: process.versions.cldr },
  };
  for (const split of new Set(plan.map((utterance) => utterance.split))) {
    const lines = utterances.filter((_, i) => plan[i]!.split === split);
    writeFileSync(
      join(folder, `${split}.jsonl`),
      lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
    );
    description.splits[split] = {
      utterances: lines.length,
      seconds: Number(lines.reduce((sum, line) => sum + line.seconds, 0).toFixed(1)),
      speakers: new Set(lines.map((line) => line.speaker)).size,
    };
  }
  writeFileSync(join(folder, 'corpus.json'), `${JSON.stringify(description, null, 2)}\n`);
}

/** The hash of the demo corpus in `dir`; undefined if there is nothing, an error if it is not ours. */
function existingHash(dir: string): string | undefined {
  if (!existsSync(dir)) return undefined;
  try {
    const found = JSON.parse(readFileSync(join(dir, 'corpus.json'), 'utf8')) as CorpusDescription;
    if (found.name === corpusName) return String(found.generator?.['hash']);
  } catch {
    if (readdirSync(dir).length === 0) return undefined;
  }
  throw new CorpusError(
    `cannot make the demo's corpus in ${dir}: it holds something else; give an empty or new folder`,
  );
}

/** Removes what earlier runs left when they were killed; a run that still goes on keeps its own. */
function removeAbandoned(dir: string): void {
  const pattern = new RegExp(`^\\.tmp-(\\d+)-\\d+$`);
  const parent = dirname(dir);
  for (const name of existsSync(parent) ? readdirSync(parent) : []) {
    if (!name.startsWith(basename(dir))) continue;
    const pid = pattern.exec(name.slice(basename(dir).length))?.[1];
    if (pid !== undefined && !isRunning(Number(pid))) {
      rmSync(join(parent, name), { recursive: true, force: true });
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
