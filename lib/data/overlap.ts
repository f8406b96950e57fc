/** What utterances of a corpus have in common that they must not, or had better not. */
import type { CorpusProblem } from './check';
import type { Utterance } from './corpus';
import { sentenceOf } from './sentence';

export interface Heard {
  split: string;
  utterance: Utterance;
  /** Undefined where it cannot be decoded. */
  sound?: { rate: number; seconds: number; peak: number; digest: string };
}

/** Told once for each kind and pair of splits; undefined keys are of nobody. */
const kinds: {
  what: string;
  of: (item: Heard) => string | undefined;
  /** In one split, too. */
  within: boolean;
  severity: CorpusProblem['severity'];
}[] = [
  { what: 'the same sound', of: ({ sound }) => sound?.digest, within: true, severity: 'error' },
  {
    what: 'the same sentence by the same speaker',
    of: ({ utterance: u }) => u.speaker && `${u.speaker}\n${u.text}`,
    within: false,
    severity: 'error',
  },
  { what: 'the same group', of: ({ utterance: u }) => u.group, within: false, severity: 'error' },
  {
    what: 'the same sentence',
    of: ({ utterance: u }) => sentenceOf(u.text),
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

/** The overlaps within and between splits, each with the first pair of utterances. */
export function overlaps(heard: readonly Heard[]): CorpusProblem[] {
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
