/**
 * What does an operation cost through the bridge, beside PyTorch's Python? Two tensors of four
 * numbers are added; the two sides take turns, so that both see the same machine. Goal: a ratio
 * of at most 1.
 */
import { Contestant, median } from '../race';
import { machine, print, printTable, rounds, spread, theirs } from '../settings';
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
}

void main();
