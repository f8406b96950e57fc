/**
 * NF4 beside bitsandbytes on the same CPU: its nn.Linear4bit in inference, its quantise and its
 * dequantise. The two processes take turns, with the same number of threads; each reads other
 * matrices each time, more than a cache holds. Goals: products of few rows in half the time,
 * quantise in a tenth.
 */
import { Contestant, median } from '../race';
import { machine, print, printTable, rounds, spread, theirs, threads } from '../settings';
import { dequantizeNf4, matmul4bit, quantizeNf4, type FloatDType } from '../../lib/nf4';
import { Generator, noGrad, randn, scope, torchVersion, type Tensor } from '../../lib/torch';

const coldBytes = 192e6;
const generator = new Generator(1);

interface Task {
  op: 'linear' | 'quantize' | 'dequantize';
  shape: [outFeatures: number, inFeatures: number];
  rows: number;
  dtype: FloatDType;
}

const shapes: Task['shape'][] = [
  [4096, 4096],
  [11008, 4096],
  [4096, 11008],
];
const products = (dtype: FloatDType, shape: Task['shape'], rows: number[]): Task[] =>
  rows.map((n) => ({ op: 'linear', shape, rows: n, dtype }));
const tasks: Task[] = [
  ...shapes.flatMap((shape) => products('bfloat16', shape, [1, 4, 8, 64, 512])),
  ...products('float32', [4096, 4096], [1, 8, 64, 512]),
  { op: 'quantize', shape: [4096, 4096], rows: 0, dtype: 'float32' },
  { op: 'quantize', shape: [4096, 4096], rows: 0, dtype: 'bfloat16' },
  { op: 'dequantize', shape: [4096, 4096], rows: 0, dtype: 'bfloat16' },
];

interface Own {
  /** Does the task `calls` times and gives the milliseconds of one. */
  run(calls: number): number;
  dispose(): void;
}

function own({ op, shape, rows, dtype }: Task): Own {
  const values = shape[0] * shape[1];
  const weight = randn([...shape], { generator }).to(dtype);
  const first = quantizeNf4(weight);
  const copies = op === 'linear' ? Math.max(2, Math.ceil(coldBytes / (values / 2))) : 1;
  const packed = Array.from({ length: copies }, () => first.packed.clone());
  const x = randn([Math.max(1, rows), shape[1]], { generator }).to(dtype);
  const once = (i: number): Tensor =>
    op === 'linear'
      ? matmul4bit(x, packed[i % copies]!, first.quantState)
      : op === 'quantize'
        ? quantizeNf4(weight).packed
        : dequantizeNf4(first.packed, first.quantState);
  return {
    run: (calls) => {
      scope(() => void once(0));
      const start = process.hrtime.bigint();
      for (let i = 0; i < calls; i++) scope(() => void once(i));
      return Number(process.hrtime.bigint() - start) / calls / 1e6;
    },
    dispose: () => {
      for (const tensor of [weight, x, first.packed, ...packed]) tensor.dispose();
      first.quantState.dispose();
    },
  };
}

async function main(): Promise<void> {
  const { contestant, ready } = await Contestant.start('bitsandbytes', theirs('nf4', `${threads}`));
  const peer = async (task: Task, calls: number): Promise<number> =>
    (await contestant.ask({ ...task, calls })).ms;
  print(
    '## NF4 beside bitsandbytes',
    'Goals: products of few rows in half of bitsandbytes’ time, quantise in a tenth. At one row both ' +
      'read at the memory’s speed, so that no one can be twice as fast there; at four and eight its ' +
      'kernel repacks the weights when a layer is first used. It computes in bfloat16 whatever the ' +
      'layer’s dtype is; the rows in float32 compare that with exact float32.',
    machine(`libtorch ${torchVersion()}`, `Node ${process.versions.node}`, ready.versions) +
      `; ${rounds} rounds`,
  );
  const rows: unknown[][] = [];
  for (const task of tasks) {
    const { run, dispose } = own(task);
    const calls = Math.max(1, Math.min(100, Math.round(60 / run(1))));
    const theirCalls = Math.max(1, Math.min(100, Math.round(60 / (await peer(task, 1)))));
    const [a, b]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      a.push(noGrad(() => run(calls)));
      b.push(await peer(task, theirCalls));
    }
    dispose();
    const ratio = median(a.map((value, i) => b[i]! / value));
    const { op, shape, rows: count, dtype } = task;
    rows.push([
      op,
      shape.join(' x '),
      count || '',
      dtype,
      spread(a, 3),
      spread(b, 3),
      ratio.toFixed(2),
    ]);
  }
  await contestant.stop();
  printTable(['', 'weight', 'rows', 'dtype', 'pare, ms', 'bitsandbytes, ms', 'times faster'], rows);
}

void main();
