/** What a corpus holds and what is wrong with it, read whole: every sound file is decoded. */
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { decodeAudio } from '../audio';
import { PareError } from '../errors';
import { openCorpus, type Utterance } from './corpus';

export interface CorpusProblem {
  /** `error`: a run refuses it or is spoilt by it; `warning`: worth a look. */
  severity: 'error' | 'warning';
  split: string;
  /** Of the utterance, or of the two that are the same. */
  ids: string[];
  what: string;
}

export interface SplitSummary {
  split: string;
  utterances: number;
  seconds: { total: number; shortest: number; median: number; longest: number };
  speakers: number;
  /** Hz, with the number of files. */
  sampleRates: Record<string, number>;
}

export interface CorpusCheck {
  dir: string;
  splits: SplitSummary[];
  problems: CorpusProblem[];
}

export interface CheckOptions {
  /** What a model hears at most; 30 s for Qwen2-Audio. */
  maxSeconds?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

interface Heard {
  split: string;
  utterance: Utterance;
  /** Undefined where it cannot be decoded. */
  sound?: { rate: number; seconds: number; peak: number; digest: string };
}

/**
 * Reads a corpus whole: rates and lengths as they are, files that are damaged, silent or too long,
 * lengths other than the manifest says, sounds that are there twice, and what splits share: sounds,
 * sentences by the same speaker, groups (errors), and sentences or speakers (warnings).
 * @throws CorpusError for a manifest that cannot be read at all
 */
export async function checkCorpus(dir: string, options: CheckOptions = {}): Promise<CorpusCheck> {
  const { maxSeconds = 30, signal, onProgress } = options;
  const corpus = openCorpus(dir);
  const names = Object.keys(corpus.description.splits);
  const problems: CorpusProblem[] = [];
  const heard: Heard[] = names.flatMap((split) =>
    corpus.read(split).map((utterance) => ({ split, utterance })),
  );
  for (const [i, item] of heard.entries()) {
    signal?.throwIfAborted();
    await hear(item, corpus.audioPath(item.utterance), maxSeconds, problems);
    onProgress?.(i + 1, heard.length);
    await setImmediate();
  }
  for (const one of shared(heard)) problems.push(one);
  const splits = names.map((split) => summary(split, heard));
  return { dir, splits, problems };
}

async function hear(
  item: Heard,
  path: string,
  maxSeconds: number,
  problems: CorpusProblem[],
): Promise<void> {
  const { split, utterance } = item;
  const tell = (severity: CorpusProblem['severity'], what: string): void =>
    void problems.push({ severity, split, ids: [utterance.id], what });
  try {
    const { samples, sampleRate: rate } = await decodeAudio(path);
    const hash = createHash('sha256');
    let peak = 0;
    for (const channel of samples) {
      for (const value of channel) peak = Math.max(peak, Math.abs(value));
      hash.update(new Uint8Array(channel.buffer, channel.byteOffset, channel.byteLength));
    }
    const seconds = samples[0]!.length / rate;
    item.sound = { rate, seconds, peak, digest: hash.digest('hex') };
    if (peak < 1e-4) tell('error', `${path} is silent`);
    if (seconds > maxSeconds) {
      tell('error', `${path} has ${seconds.toFixed(1)} s; a model hears ${maxSeconds} s at most`);
    }
    if (seconds < 0.1) tell('warning', `${path} has only ${Math.round(seconds * 1000)} ms`);
    if (Math.abs(seconds - utterance.seconds) > Math.max(0.1, 0.02 * seconds)) {
      tell(
        'warning',
        `${path} has ${seconds.toFixed(2)} s, the manifest says ${utterance.seconds}`,
      );
    }
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
    tell('error', error.message);
  }
}

/** What two utterances must not, or had better not, have in common; told once for each kind and pair of splits. */
const kinds: {
  what: string;
  of: (item: Heard) => string | undefined;
  within: boolean;
  severity: CorpusProblem['severity'];
}[] = [
  { what: 'the same sound', of: ({ sound }) => sound?.digest, within: true, severity: 'error' },
  {
    what: 'the same sentence by the same speaker',
    of: ({ utterance: u }) => `${u.speaker}\n${u.text}`,
    within: false,
    severity: 'error',
  },
  { what: 'the same group', of: ({ utterance: u }) => u.group, within: false, severity: 'error' },
  {
    what: 'the same sentence',
    of: ({ utterance: u }) => u.text,
    within: false,
    severity: 'warning',
  },
  {
    what: 'the same speaker',
    of: ({ utterance: u }) => u.speaker,
    within: false,
    severity: 'warning',
  },
];

function shared(heard: readonly Heard[]): CorpusProblem[] {
  return kinds.flatMap(({ what, of, within, severity }) => {
    const first = new Map<string, Heard>();
    const found = new Map<string, { problem: CorpusProblem; count: number }>();
    for (const item of heard) {
      const key = of(item);
      if (key === undefined) continue;
      const before = first.get(key);
      if (before === undefined) {
        first.set(key, item);
        continue;
      }
      const same = before.split === item.split;
      if (same && !within) continue;
      const pair = same ? item.split : `${before.split} and ${item.split}`;
      const known = found.get(pair);
      if (known !== undefined) known.count++;
      else {
        const ids = [before.utterance.id, item.utterance.id];
        found.set(pair, { problem: { severity, split: pair, ids, what }, count: 1 });
      }
    }
    return [...found.values()].map(({ problem, count }) => ({
      ...problem,
      what: count === 1 ? what : `${what} (${count} times; the first is named)`,
    }));
  });
}

function summary(split: string, all: readonly Heard[]): SplitSummary {
  const heard = all.filter((item) => item.split === split);
  const lengths = heard.flatMap(({ sound }) => sound?.seconds ?? []).sort((a, b) => a - b);
  const sampleRates: Record<string, number> = {};
  for (const { sound } of heard) {
    if (sound !== undefined) sampleRates[sound.rate] = (sampleRates[sound.rate] ?? 0) + 1;
  }
  return {
    split,
    utterances: heard.length,
    seconds: {
      total: lengths.reduce((a, b) => a + b, 0),
      shortest: lengths[0] ?? 0,
      median: lengths[Math.floor(lengths.length / 2)] ?? 0,
      longest: lengths.at(-1) ?? 0,
    },
    speakers: new Set(heard.map(({ utterance }) => utterance.speaker)).size,
    sampleRates,
  };
}
