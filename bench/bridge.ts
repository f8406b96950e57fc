/**
 * What does an operation cost through the bridge, beside PyTorch's Python? Two tensors of four
 * numbers are added; the two sides take turns, so that both see the same machine. Goal: a ratio
 * of at most 1.
 *
 *   npx tsc --ignoreConfig --target es2022 --module commonjs --moduleResolution node10 \
 *     --ignoreDeprecations 6.0 --lib es2022,esnext.disposable --types node --skipLibCheck \
 *     --esModuleInterop --rootDir . --outDir build/bench bench/bridge.ts
 *   PARE_ADDON=build/pare.node node build/bench/bench/bridge.js [PYTHON] [ROUNDS]
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ones, scope, torchVersion } from '../lib/torch';

const [python = 'python3', rounds = '15'] = process.argv.slice(2);
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

function median(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[values.length >> 1]!;
}

async function main(): Promise<void> {
  const script = join(process.cwd(), 'bench/bridge.py');
  const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const line = async (): Promise<string> => (await lines.next()).value as string;
  const theirs = async (): Promise<number> => {
    child.stdin.write(`${additions}\n`);
    return Number(await line());
  };

  const version = await line();
  nanoseconds();
  await theirs();
  const bridge: number[] = [];
  const pytorch: number[] = [];
  for (let round = 0; round < Number(rounds); round++) {
    bridge.push(nanoseconds());
    pytorch.push(await theirs());
  }
  child.stdin.end();
  const ratios = bridge.map((value, i) => value / pytorch[i]!);
  const show = (name: string, values: number[]): void =>
    console.log(
      `${name}: median ${median(values).toFixed(0)} ns, fastest ${Math.min(...values).toFixed(0)} ns`,
    );
  show(`bridge (libtorch ${torchVersion()}, Node ${process.versions.node})`, bridge);
  show(`PyTorch ${version} from Python`, pytorch);
  console.log(`ratio of a round: median ${median(ratios).toFixed(2)} (goal: at most 1)`);
}

void main();
