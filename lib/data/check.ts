/** What a corpus holds and what is wrong with it, read whole: every sound is decoded, piece by piece. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { decodePieces } from '../audio';
import { named, PareError } from '../errors';
import { findSource, openCorpus, type Corpus, type CorpusSource, type OpenOptions } from './corpus';
import type { Utterance } from './corpus';
import { overlaps, type Heard } from './overlap';
import { sentenceOf } from './sentence';
import { findLeftOut } from './split-files';

/** Something that is wrong, with where it is. */
export interface CorpusProblem {
  /** `error`: a run refuses it or is spoilt by it; `warning`: worth a look. */
  severity: 'error' | 'warning';
  /** Its name; where it is about a table that no split is read from, the table's. */
  split: string;
  /** Of the utterance, or of the two that are the same; none where it is about a row or a split. */
  ids: string[];
  what: string;
}

/** What a split holds. */
export interface SplitSummary {
  split: string;
  utterances: number;
  seconds: { total: number; shortest: number; median: number; longest: number };
  /** Undefined where the corpus does not say who speaks. */
  speakers?: number;
  /** Hz, with the number of files. */
  sampleRates: Record<string, number>;
  /** Utterances whose sentence, or whose sound, was in the split before. */
  duplicates: { sentences: number; sounds: number };
}

/** What {@link checkCorpus} finds. */
export interface CorpusCheck {
  dir: string;
  /** Codes; of the translations in the order of the columns. */
  languages: Corpus['description']['languages'];
  splits: SplitSummary[];
  problems: CorpusProblem[];
}

/** What counts as too long, which splits are read, and who hears of the progress. */
export interface CheckOptions extends Omit<OpenOptions, 'onProgress'> {
  /** What a model hears at most; 30 s for Qwen2-Audio. */
  maxSeconds?: number;
  /** Utterances heard, and of a dataset of the hub first the bytes that are fetched. */
  onProgress?: (done: number, total: number, what: 'fetching' | 'listening') => void;
}

/** Problems of one kind that are told of a split; of more, the number. */
const toldOfAKind = 20;

/**
 * Reads a corpus whole: rates and lengths as they are, rows that cannot be used, files that are
 * damaged, silent, too long or too short, lengths other than the manifest says, sounds that are
 * there twice, and what splits share: sounds, sentences by the same speaker, groups (errors), and
 * sentences or speakers (warnings). Memory grows by the index of utterances, not by their sounds.
 * @throws CorpusError for what is no corpus, or has columns missing
 */
export async function checkCorpus(
  source: string | CorpusSource,
  options: CheckOptions = {},
): Promise<CorpusCheck> {
  const { maxSeconds = 30, onProgress, ...open } = options;
  const { signal } = open;
  const corpus = await openCorpus(source, {
    ...open,
    onProgress: (done, total) => onProgress?.(done, total, 'fetching'),
  });
  const names = options.splits ?? Object.keys(corpus.description.splits);
  const problems = new Problems();
  for (const table of leftOut(corpus.dir, source)) {
    const what = 'no split is read from this table: its name says none (train, dev, test …)';
    problems.tell('table', { severity: 'warning', split: table, ids: [], what });
  }
  const heard: Heard[] = [];
  for (const split of names) {
    const onProblem = ({ message: what }: PareError): void =>
      problems.tell('row', { severity: 'error', split, ids: [], what });
    const utterances = await corpus.read(split, { onProblem, signal });
    if (utterances.length === 0) {
      const what = 'the split has no utterance that can be used';
      problems.tell('empty', { severity: 'error', split, ids: [], what });
    }
    for (const utterance of utterances) heard.push({ split, utterance });
  }
  for (const [i, item] of heard.entries()) {
    signal?.throwIfAborted();
    await hear(item, corpus, maxSeconds, problems);
    onProgress?.(i + 1, heard.length, 'listening');
    await setImmediate();
  }
  const splits = names.map((split) => summary(split, heard));
  const { languages } = corpus.description;
  return { dir: corpus.dir, languages, splits, problems: [...problems.all(), ...overlaps(heard)] };
}

/** Tables of a folder; a dataset of the hub has what it means to have. */
function leftOut(dir: string, source: string | CorpusSource): string[] {
  const { path, config } = typeof source === 'string' ? findSource(source) : source;
  return path === undefined || existsSync(join(dir, 'corpus.json')) ? [] : findLeftOut(dir, config);
}

/** Gathers problems, the first of each kind in full. */
class Problems {
  readonly #told: CorpusProblem[] = [];
  readonly #counts = new Map<string, { severity: CorpusProblem['severity']; count: number }>();

  tell(kind: string, problem: CorpusProblem): void {
    const key = `${problem.split}\n${kind}`;
    const known = this.#counts.get(key) ?? { severity: problem.severity, count: 0 };
    this.#counts.set(key, known);
    if (++known.count <= toldOfAKind) this.#told.push(problem);
  }

  all(): CorpusProblem[] {
    const more = [...this.#counts].filter(([, { count }]) => count > toldOfAKind);
    return [
      ...this.#told,
      ...more.map(([key, { severity, count }]) => {
        const [split, kind] = key.split('\n') as [string, string];
        return { severity, split, ids: [], what: `${count - toldOfAKind} more: ${kind}` };
      }),
    ];
  }
}

async function hear(
  item: Heard,
  corpus: Corpus,
  maxSeconds: number,
  problems: Problems,
): Promise<void> {
  const { split, utterance } = item;
  const name = corpus.audioName(utterance);
  const tell = (severity: CorpusProblem['severity'], kind: string, what: string): void =>
    problems.tell(kind, { severity, split, ids: [utterance.id], what });
  try {
    const { rate, seconds, peak } = (item.sound = await listen(corpus, utterance));
    if (peak < 1e-4) tell('error', 'silent', `${name} is silent`);
    if (seconds > maxSeconds) {
      const most = `a model hears ${maxSeconds} s at most`;
      tell('error', 'too long', `${name} has ${seconds.toFixed(1)} s; ${most}`);
    }
    if (seconds < 0.1) {
      tell('warning', 'too short', `${name} has only ${Math.round(seconds * 1000)} ms`);
    }
    if (Math.abs(seconds - utterance.seconds) > Math.max(0.1, 0.02 * seconds)) {
      const told = `the manifest says ${Number(utterance.seconds.toFixed(3))}`;
      tell('warning', 'another length', `${name} has ${seconds.toFixed(2)} s, ${told}`);
    }
    if (rate < 8000) tell('warning', 'low rate', `${name} has only ${rate} Hz`);
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
    tell('error', 'unreadable', error.message);
  }
}

/** Decodes a sound, with memory for a piece of it. */
async function listen(corpus: Corpus, utterance: Utterance): Promise<NonNullable<Heard['sound']>> {
  const hashes: ReturnType<typeof createHash>[] = [];
  let [peak, length, rate] = [0, 0, 0];
  try {
    for await (const piece of decodePieces(await corpus.audio(utterance))) {
      rate = piece.sampleRate;
      length += piece.samples[0]!.length;
      for (const [i, channel] of piece.samples.entries()) {
        for (const value of channel) peak = Math.max(peak, Math.abs(value));
        const hash = (hashes[i] ??= createHash('sha256'));
        hash.update(new Uint8Array(channel.buffer, channel.byteOffset, channel.byteLength));
      }
    }
  } catch (error) {
    throw named(corpus.audioName(utterance), error);
  }
  const digest = hashes.map((hash) => hash.digest('base64').slice(0, 24)).join();
  return { rate, seconds: length / rate, peak, digest };
}

function summary(split: string, all: readonly Heard[]): SplitSummary {
  const heard = all.filter((item) => item.split === split);
  const lengths = heard.flatMap(({ sound }) => sound?.seconds ?? []).sort((a, b) => a - b);
  const sampleRates: Record<string, number> = {};
  for (const { sound } of heard) {
    if (sound !== undefined) sampleRates[sound.rate] = (sampleRates[sound.rate] ?? 0) + 1;
  }
  const speakers = new Set(heard.flatMap(({ utterance }) => utterance.speaker ?? [])).size;
  const repeated = (keys: readonly string[]): number => keys.length - new Set(keys).size;
  return {
    split,
    utterances: heard.length,
    seconds: {
      total: lengths.reduce((a, b) => a + b, 0),
      shortest: lengths[0] ?? 0,
      median: lengths[Math.floor(lengths.length / 2)] ?? 0,
      longest: lengths.at(-1) ?? 0,
    },
    ...(speakers > 0 ? { speakers } : {}),
    sampleRates,
    duplicates: {
      sentences: repeated(heard.map(({ utterance }) => sentenceOf(utterance.text))),
      sounds: repeated(heard.flatMap(({ sound }) => sound?.digest ?? [])),
    },
  };
}
