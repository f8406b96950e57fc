import type { Utterance } from './corpus';
import { CorpusError } from './error';

/** The ways in which two splits can share what they must not. */
const keys: {
  what: string;
  /** Undefined where it is not known. */
  of: (utterance: Utterance) => string | undefined;
  say: (u: Utterance) => string;
}[] = [
  { what: 'group', of: (u) => u.group, say: (u) => `'${u.group}'` },
  { what: 'sound file', of: (u) => u.audio, say: (u) => u.audio },
  {
    what: 'sentence and speaker',
    of: (u) => u.speaker && `${u.speaker}\n${u.text}`,
    say: (u) => `'${u.text}' by ${u.speaker}`,
  },
];

/**
 * Refuses splits that overlap: a group, a sound file, or a sentence by the same speaker in two of
 * them. Layers chosen or weights trained on what is then reported flatter the score. Two splits that
 * are only reported may share groups, since neither is learnt from.
 *
 * @param splits utterances by the split's name
 * @param reported names of the splits that nothing is trained or chosen on
 * @throws CorpusError naming the two splits and an example
 */
export function checkDisjoint(
  splits: Record<string, Utterance[]>,
  reported: readonly string[] = [],
): void {
  const names = Object.keys(splits);
  for (const [i, first] of names.entries()) {
    for (const second of names.slice(i + 1)) {
      for (const { what, of, say } of keys) {
        if (what === 'group' && reported.includes(first) && reported.includes(second)) continue;
        const seen = new Map(splits[first]!.map((utterance) => [of(utterance), utterance]));
        for (const utterance of splits[second]!) {
          const key = of(utterance);
          const same = key === undefined ? undefined : seen.get(key);
          if (!same) continue;
          throw new CorpusError(
            `splits '${first}' and '${second}' overlap: ${same.id} and ${utterance.id} have the same ${what}, ${say(utterance)}; move one of them`,
          );
        }
      }
    }
  }
}
