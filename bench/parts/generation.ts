/** Greedy generation in 4 bits beside transformers with bitsandbytes, and beside llama.cpp. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { halfBillion } from '../half-billion';
import { Contestant, race, type Measured } from '../race';
import {
  machine,
  ours,
  packages,
  print,
  printTable,
  python,
  root,
  rounds,
  spread,
  theirs,
  threads,
  times,
  work,
} from '../settings';

const prompt = Array.from({ length: 32 }, (_, i) => 1000 + 37 * i);
const newTokens = 65;

async function main(): Promise<void> {
  const dir = halfBillion();
  const gguf = join(work, 'half-billion.gguf');
  if (!existsSync(gguf)) {
    execFileSync(python, [join(root, 'bench/peers/write_gguf.py'), dir, gguf]);
  }
  print(
    '## Generation beside bitsandbytes and llama.cpp',
    `The text decoder of the model above, ${prompt.length} tokens of prompt, then greedy tokens one ` +
      'by one: a token’s time is that of 65 tokens less that of the first, over 64, of all rows. ' +
      'transformers leaves lm_head in bfloat16 (280 MB of the 460 MB that a token reads); ' +
      'llama.cpp has it in Q4_0, which `lmHead: true` is set beside.',
    'Goals: a third of transformers’ time; not slower than llama.cpp for one row.',
  );
  const contestants = await Promise.all([
    Contestant.start('pare', ours('generation', dir, 'plain')),
    Contestant.start('bitsandbytes', theirs('generation', dir, 'nf4', String(threads))),
    Contestant.start('pare, lm_head in NF4', ours('generation', dir, 'lmHead')),
    Contestant.start('llama.cpp', ours('generation-llama', gguf, packages, String(threads))),
  ]);
  const rows: unknown[][] = [];
  for (const batch of [1, 8]) {
    const results = await race(
      contestants.map(({ contestant }) => contestant),
      { prompt, batch, newTokens },
      rounds,
    );
    const row = (own: Measured[], peer: Measured[], names: string): void => {
      const ms = (all: Measured[], key: string): string =>
        spread(
          all.map((m) => m[key]!),
          1,
        );
      rows.push([
        names,
        batch,
        ms(own, 'ms'),
        ms(peer, 'ms'),
        times(peer, own).toFixed(2),
        ms(own, 'firstMs'),
        ms(peer, 'firstMs'),
        times(peer, own, 'firstMs').toFixed(2),
      ]);
    };
    row(results[0]!, results[1]!, 'lm_head in bfloat16, beside bitsandbytes');
    row(results[2]!, results[3]!, 'lm_head in 4 bits, beside llama.cpp');
  }
  await Promise.all(contestants.map(({ contestant }) => contestant.stop()));
  print(`${machine(...contestants.slice(1).map(({ ready }) => ready.versions))}; ${rounds} rounds`);
  printTable(
    [
      ...['', 'rows', 'a token: pare, ms', 'peer, ms', 'times faster'],
      ...['prompt: pare, ms', 'peer, ms', 'times faster'],
    ],
    rows,
  );
  print(
    'What a token reads: 180 MB of layers, and 280 MB of lm_head in bfloat16 or 75 MB in NF4. At 30 GB/s ' +
      'that takes 15.3 or 8.5 ms, at 45 GB/s 10.2 or 5.7.',
  );
}

void main();
