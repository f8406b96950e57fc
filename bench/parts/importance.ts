/** The search for layers beside the published loop, written with transformers. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Contestant } from '../race';
import { machine, ours, print, printTable, root, theirs, threads, work } from '../settings';

const clips = 40;
const remove = 2;

async function main(): Promise<void> {
  const corpus = join(work, 'importance-corpus');
  if (!existsSync(corpus)) {
    // The built package: its synthesiser is a file beside the compiled ones.
    const demo = join(root, 'dist/data/demo/index.js');
    const { makeDemoCorpus } = (await import(demo)) as typeof import('../../lib/data/demo');
    await makeDemoCorpus(corpus, { train: 100, dev: clips, test: 20, testVoices: 20 });
  }
  const teacher = join(root, 'recipes/demo-teacher');
  print(
    '## The search for layers beside the published loop',
    `The demo’s teacher (12 decoder layers, float32), ${clips} utterances, German, chrF++, ${remove} ` +
      'layers to go: 19 candidates and the full model. The peer does what the paper’s code does: a ' +
      'deep copy a candidate, which hears and translates the utterances one by one. Goal: 10 times ' +
      'as many candidates a minute, the same layers in the same order.',
  );
  const args = [teacher, corpus, String(clips), String(remove)];
  const a = await Contestant.start('pare', ours('importance', ...args));
  const b = await Contestant.start('transformers', theirs('importance', ...args, String(threads)));
  type Answer = { ms: number; removed: number[]; scores: number[] };
  const ask = async ({ contestant }: typeof a): Promise<Answer> =>
    (await contestant.ask({})) as unknown as Answer;
  // pare before and after, so that the machine's drift shows.
  const before = await ask(a);
  const peer = await ask(b);
  const own = [before, await ask(a)];
  await Promise.all([a.contestant.stop(), b.contestant.stop()]);
  print(machine(a.ready.versions, b.ready.versions));
  const perMinute = ({ ms }: Answer): string => (60_000 / ms).toFixed(1);
  const apart = Math.max(...before.scores.map((score, i) => Math.abs(score - peer.scores[i]!)));
  printTable(
    ['', 'candidates a minute', 'layers removed, in order'],
    [
      ['pare', own.map(perMinute).join(' and '), before.removed.join(', ')],
      ['transformers', perMinute(peer), peer.removed.join(', ')],
      ['times faster', own.map(({ ms }) => (peer.ms / ms).toFixed(1)).join(' and '), ''],
    ],
  );
  print(`The scores of the 19 candidates differ by at most ${apart.toFixed(4)}.`);
}

void main();
