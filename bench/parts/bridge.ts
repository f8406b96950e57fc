/**
 * What does an operation cost through the bridge, beside PyTorch's Python? Two tensors of four
 * numbers are added; the two sides take turns, so that both see the same machine. Goal: a ratio
 * of at most 1.
 */
import { tiny } from '../half-billion';
import { Contestant, median, race } from '../race';
import {
  machine,
  ours,
  print,
  printTable,
  rounds,
  spread,
  theirs,
  threads,
  times,
} from '../settings';
import { ones, scope, torchVersion } from '../../lib/torch';

const additions = 200_000;
/** Operations to a scope, as in a training step; freeing them is part of the time. */
const perScope = 1000;

function nanoseconds(): number {
  const a = ones([4]);
  const b = ones([4]);
  const start = process.hrtime.bigint();
  for (let i = 0; i < additions; i += perScope) {
    scope(() => {
      for (let j = 0; j < perScope; j++) a.add(b);
    });
  }
  const spent = Number(process.hrtime.bigint() - start);
  a.dispose();
  b.dispose();
  return spent / additions;
}

async function main(): Promise<void> {
  const { contestant, ready } = await Contestant.start('PyTorch', theirs('bridge'));
  const peer = async (): Promise<number> => (await contestant.ask({ additions })).ms * 1e6;
  nanoseconds();
  await peer();
  const [own, pytorch]: [number[], number[]] = [[], []];
  for (let round = 0; round < 3 * rounds; round++) {
    own.push(nanoseconds());
    pytorch.push(await peer());
  }
  await contestant.stop();
  const ratio = median(own.map((value, i) => value / pytorch[i]!));
  print(
    '## An operation through the bridge beside PyTorch’s Python',
    'Two tensors of four numbers are added, the result freed. Goal: a ratio of at most 1.',
    machine(`libtorch ${torchVersion()}`, `Node ${process.versions.node}`, ready.versions) +
      `; ${3 * rounds} rounds`,
  );
  printTable(
    ['pare, ns', 'PyTorch, ns', 'of its time'],
    [[spread(own, 0), spread(pytorch, 0), ratio.toFixed(2)]],
  );
  await decodeStep();
}

/** A step of generation with layers of 64 values, all of it overhead. */
async function decodeStep(): Promise<void> {
  const dir = tiny();
  const a = await Contestant.start('pare', ours('generation', dir, 'whole'));
  const b = await Contestant.start(
    'transformers',
    theirs('generation', dir, 'whole', String(threads)),
  );
  const prompt = Array.from({ length: 32 }, (_, i) => 7 * i);
  const request = { prompt, batch: 1, newTokens: 33 };
  const [mine, peer] = await race([a.contestant, b.contestant], request, 3 * rounds);
  await Promise.all([a.contestant.stop(), b.contestant.stop()]);
  print(
    'A token of a decoder of 4 layers with 64 values, in bfloat16. Goal: faster than transformers.',
    machine(a.ready.versions, b.ready.versions),
  );
  const ms = (all: typeof mine): string =>
    spread(
      all!.map((m) => m.ms),
      2,
    );
  printTable(
    ['pare, ms', 'transformers, ms', 'times faster'],
    [[ms(mine), ms(peer), times(peer!, mine!).toFixed(1)]],
  );
}

void main();
