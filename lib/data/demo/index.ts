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
import { dirname, join } from 'node:path';
import { fileError, syncFolder } from '../../files';
import { encodeWav } from '../../audio/wav';
import { PareError } from '../../errors';
import type { CorpusDescription, Utterance } from '../corpus';
import { CorpusError } from '../error';
import { seededRandom } from '../random';
import { clipRate, makeClip } from './clip';
import { targetLanguages } from './phrases';
import { planCorpus, splitPhrases, type DemoCounts, type PlannedUtterance } from './plan';
import { speakBatches, type Speech } from './pool';
import { UnfinishedCorpus } from './unfinished';

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
  /** Stops within a batch's time; what was spoken is kept beside the folder for the next call. */
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
 * corpus; replaces one of other settings. Written beside `dir` and renamed when complete; if it was
 * interrupted or killed before, it goes on from the batches that were spoken, to the same bytes.
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
  let unfinished: UnfinishedCorpus | undefined;
  try {
    unfinished = UnfinishedCorpus.claim(dir, hash);
    const work = unfinished.dir;
    const utterances = await speak(plan, unfinished, seed, options);
    writeDescription(work, plan, utterances, { seed, ...counts, version, hash });
    unfinished.complete();
    rmSync(dir, { recursive: true, force: true });
    renameSync(work, dir);
    syncFolder(dirname(dir));
  } catch (error) {
    // Another process may have finished the same corpus in the meantime.
    if (unfinished !== undefined && existingHash(dir) === hash) {
      rmSync(unfinished.dir, { recursive: true, force: true });
      return;
    }
    throw error instanceof PareError || options.signal?.aborted
      ? error
      : fileError('write', dir, error);
  } finally {
    unfinished?.release();
  }
}

/** Speaks what is not spoken yet and returns the manifest's lines in the plan's order. */
async function speak(
  plan: PlannedUtterance[],
  unfinished: UnfinishedCorpus,
  seed: number,
  options: DemoCorpusOptions,
): Promise<Utterance[]> {
  for (const split of new Set(plan.map((utterance) => utterance.split))) {
    mkdirSync(join(unfinished.dir, 'audio', split), { recursive: true });
  }
  const utterances: Utterance[] = new Array<Utterance>(plan.length);
  let done = 0;
  const take = (index: number, spoken: readonly Utterance[]): void => {
    for (const [i, utterance] of spoken.entries()) utterances[index * batchSize + i] = utterance;
    done += spoken.length;
    options.onProgress?.(done, plan.length);
  };
  for (const batch of await unfinished.finished()) take(batch.index, batch.utterances);
  const open: { index: number; batch: PlannedUtterance[] }[] = [];
  for (let index = 0; index * batchSize < plan.length; index++) {
    const at = index * batchSize;
    if (utterances[at] === undefined) open.push({ index, batch: plan.slice(at, at + batchSize) });
  }
  await speakBatches(
    open.map(({ batch }) => batch.map((utterance) => utterance.job)),
    options.processes ?? 2,
    (i, spoken) => {
      const { index, batch } = open[i]!;
      const clips = batch.map((planned, j) => clipOf(planned, spoken[j]!, seed));
      unfinished.add(index, clips);
      take(
        index,
        clips.map(({ utterance }) => utterance),
      );
    },
    options.signal,
  );
  return utterances;
}

function clipOf(
  { id, split, phrase, voice, clip }: PlannedUtterance,
  spoken: Speech,
  seed: number,
): { utterance: Utterance; wav: Uint8Array } {
  const samples = makeClip(spoken, clip, seededRandom(`${seed} ${id} clip`));
  const utterance = {
    id,
    audio: `audio/${split}/${id}.wav`,
    seconds: Number((samples.length / clipRate).toFixed(3)),
    speaker: voice.id,
    text: phrase.text,
    translations: phrase.translations,
    group: phrase.group,
  };
  return { utterance, wav: encodeWav(samples, clipRate) };
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
