/** How long a program takes to begin: the package alone, and with a checkpoint. */
import { execFileSync } from 'node:child_process';
import { halfBillion } from '../half-billion';
import { median } from '../race';
import { machine, ours, print, printTable, rounds, spread, theirs } from '../settings';

function seconds([command, ...args]: readonly string[]): number {
  const start = performance.now();
  execFileSync(command!, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  return (performance.now() - start) / 1000;
}

function main(): void {
  const dir = halfBillion();
  print(
    '## Starting',
    'Whole processes, from their start to their end, files in the cache of the system: the package ' +
      'alone, and with the checkpoint above (1.3 GB in bfloat16).',
  );
  const rows = [
    ['the package', []],
    ['and a checkpoint', [dir]],
  ].map(([name, args]) => {
    const [own, peer]: [number[], number[]] = [[], []];
    for (let round = -1; round < rounds; round++) {
      const a = seconds(ours('start-up', ...(args as string[])));
      const b = seconds(theirs('start_up', ...(args as string[])));
      if (round < 0) continue;
      own.push(a);
      peer.push(b);
    }
    const ratio = median(own.map((value, i) => peer[i]! / value));
    return [name, spread(own, 2), spread(peer, 2), ratio.toFixed(1)];
  });
  print(`${machine()}; ${rounds} rounds`);
  printTable(['', 'pare, s', 'transformers, s', 'times faster'], rows);
}

main();
