/**
 * The CUDA kernels on the GPU that is there: products of few rows against the bandwidth of the
 * memory, of more against libtorch's product of the decoded matrix and against bitsandbytes, and a
 * decode step of a 7B decoder, queued operator by operator and as one captured graph. Writes
 * bench/RESULTS-CUDA.md. Goals on an H100: one row at 75 % of the bandwidth; 16 to 256 rows in half
 * of bitsandbytes' time and never slower than decoding the matrix for cuBLAS.
 *
 *   npm run bench:cuda [-- PYTHON]
 *
 * PARE_BENCH_DRY=1 runs every part with tiny sizes on the CPU and writes nothing: a check of this
 * program.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dequantizeNf4, matmul4bit, quantizeNf4, type Quantized } from '../lib/nf4';
import {
  backward,
  cat,
  CudaGraph,
  cudaDeviceName,
  cudaSynchronize,
  functional as F,
  noGrad,
  ones,
  randn,
  scope,
  torchVersion,
  zeros,
  type Tensor,
} from '../lib/torch';

const [python = 'python3'] = process.argv.slice(2);
const dry = process.env.PARE_BENCH_DRY === '1';
const device = dry ? 'cpu' : 'cuda';
const root = process.cwd();
/** Bytes of weights that contestants read in turn: well above the 50 MB that an H100 caches. */
const coldBytes = dry ? 1e5 : 400e6;
const rounds = dry ? 1 : 9;
const milliseconds = dry ? 0 : 20;

type Shape = readonly [outFeatures: number, inFeatures: number];
const shapes: Shape[] = dry
  ? [[64, 128]]
  : [
      [4096, 4096],
      [11008, 4096],
      [4096, 11008],
    ];

const lines: string[] = [];
function say(line: string = ''): void {
  console.log(line);
  lines.push(line);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): void {
  say(`| ${head.join(' | ')} |`);
  say(`|${head.map(() => ' --- |').join('')}`);
  for (const row of rows) say(`| ${row.join(' | ')} |`);
  say();
}

function median(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[values.length >> 1]!;
}

function wait(): void {
  if (!dry) cudaSynchronize();
}

/** Something to time: `calls` products, one after the other. */
interface Contestant {
  queue(): void;
  calls: number;
  dispose(): void;
}

/** All calls in one graph, so that the time is the GPU's and not that of queueing. */
function captured(calls: number, run: (call: number) => void): Contestant {
  const all = (): void => {
    for (let i = 0; i < calls; i++) scope(() => run(i));
  };
  all(); // libraries make what they keep
  if (dry) return { queue: all, calls, dispose: () => {} };
  try {
    const graph = CudaGraph.capture(all);
    return { queue: () => graph.replay(), calls, dispose: () => graph.dispose() };
  } catch (error) {
    console.error(`not captured, timed with the queueing: ${String(error)}`);
    uncaptured++;
    return { queue: all, calls, dispose: () => {} };
  }
}

/** Of the contestants so far. */
let uncaptured = 0;

/** Microseconds a call of each, taking turns. */
function race<Name extends string>(contestants: Record<Name, Contestant>): Record<Name, number> {
  const names = Object.keys(contestants) as Name[];
  const once = (c: Contestant, times: number): number => {
    wait();
    const start = process.hrtime.bigint();
    for (let i = 0; i < times; i++) c.queue();
    wait();
    return Number(process.hrtime.bigint() - start) / 1e3 / (times * c.calls);
  };
  const repeats = names.map((name) => {
    const c = contestants[name];
    return Math.max(1, Math.round((1e3 * milliseconds) / (once(c, 2) * c.calls)));
  });
  const times = names.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    names.forEach((name, i) => times[i]!.push(once(contestants[name], repeats[i]!)));
  }
  for (const name of names) contestants[name].dispose();
  return Object.fromEntries(names.map((name, i) => [name, median(times[i]!)])) as Record<
    Name,
    number
  >;
}

/** GB/s read and written by copying a gigabyte. */
function copyBandwidth(): number {
  return scope(() => {
    const from = zeros([dry ? 1024 : 1 << 28], { device });
    const to = zeros(from.shape, { device });
    const { copy } = race({ copy: captured(1, () => void noGrad(() => to.copy_(from))) });
    return (2 * 4 * from.numel) / 1e3 / copy;
  });
}

/** A random matrix; its 64 parts are the same, or making the largest would take the CPU minutes. */
function randomWeight([outFeatures, inFeatures]: Shape): Quantized {
  const parts = 64;
  return scope(() => {
    const part = randn([outFeatures / parts, inFeatures]).to('bfloat16', device);
    return quantizeNf4(cat(Array<Tensor>(parts).fill(part), 0));
  });
}

function matrices([outFeatures, inFeatures]: Shape): { packed: Quantized[]; bytes: number } {
  const values = outFeatures * inFeatures;
  const bytes = values / 2 + values / 64; // and a byte of absmax a block
  const first = randomWeight([outFeatures, inFeatures]);
  const packed = Array.from({ length: Math.ceil(coldBytes / bytes) }, () => ({
    ...first,
    packed: first.packed.clone(),
  }));
  return { packed, bytes };
}

interface Row {
  shape: Shape;
  rows: number;
  nf4: number;
  decoded: number;
  bytes: number;
  backward?: { nf4: number; decoded: number };
}

/** Ours, and decoding the whole matrix for the library's product, on weights that no cache holds. */
function product(shape: Shape, rows: number, withBackward: boolean): Row {
  return scope(() => {
    const { packed, bytes } = matrices(shape);
    const x = randn([rows, shape[1]]).to('bfloat16', device);
    const decode = ({ packed, quantState }: Quantized): Tensor => dequantizeNf4(packed, quantState);
    const direct = ({ packed, quantState }: Quantized): Tensor => matmul4bit(x, packed, quantState);
    const forward = noGrad(() =>
      race({
        nf4: captured(packed.length, (i) => void direct(packed[i]!)),
        decoded: captured(packed.length, (i) => void F.linear(x, decode(packed[i]!))),
      }),
    );
    if (!withBackward) return { shape, rows, bytes, ...forward };
    const gradient = randn([rows, shape[0]]).to('bfloat16', device);
    x.requiresGrad = true;
    // Forward is part of what autograd is given; its time, measured alone, is taken off.
    const both = race({
      nf4: captured(packed.length, (i) => {
        backward(direct(packed[i]!), gradient);
        x.grad = undefined;
      }),
      decoded: captured(packed.length, (i) => {
        const weight = decode(packed[i]!);
        backward(F.linear(x, weight), gradient);
        x.grad = undefined;
      }),
    });
    return {
      shape,
      rows,
      bytes,
      ...forward,
      backward: { nf4: both.nf4 - forward.nf4, decoded: both.decoded - forward.decoded },
    };
  });
}

interface Peer {
  versions: string;
  /** Microseconds a call, by "out x in x rows". */
  times: Record<string, number>;
}

/** bitsandbytes on the same tasks, if Python has it; else why not. */
function peer(tasks: readonly { shape: Shape; rows: number }[]): Peer | string {
  const input = JSON.stringify({ device, coldBytes, rounds, milliseconds, tasks });
  const run = spawnSync(python, [join(root, 'bench/peers/nf4_cuda.py')], {
    input,
    encoding: 'utf8',
  });
  if (run.status === 0) return JSON.parse(run.stdout) as Peer;
  return run.error?.message ?? run.stderr.trim().split('\n').at(-1) ?? 'no reason given';
}

function products(bandwidth: number): void {
  const few = shapes.flatMap((shape) => [1, 2, 4, 8].map((n) => product(shape, n, false)));
  const many = shapes.flatMap((shape) =>
    (dry ? [16] : [16, 32, 64, 128, 256, 512, 2048]).map((n) => product(shape, n, true)),
  );
  const theirs = peer([...few, ...many]);
  const found = typeof theirs === 'string' ? undefined : theirs;
  say(found ? `Beside it: ${found.versions}.` : `No bitsandbytes: ${theirs as string}`);
  say();
  const times = (ours: number, other: number | undefined): string[] =>
    other === undefined ? ['–', '–'] : [other.toFixed(1), (other / ours).toFixed(2)];
  const bnb = ({ shape, rows, nf4 }: Row): string[] =>
    times(nf4, found?.times[[...shape, rows].join(' x ')]);

  say('## Few rows, bfloat16, straight from packed weights');
  say();
  table(
    [
      ...['weight', 'rows', 'µs', 'packed GB/s', 'of the bandwidth'],
      ...['decoded + cuBLAS, µs', 'times faster', 'bitsandbytes, µs', 'times faster'],
    ],
    few.map((row) => {
      const rate = row.bytes / 1e3 / row.nf4;
      return [
        ...[row.shape.join(' x '), String(row.rows), row.nf4.toFixed(2), rate.toFixed(0)],
        `${((100 * rate) / bandwidth).toFixed(0)} %`,
        ...times(row.nf4, row.decoded),
        ...bnb(row),
      ];
    }),
  );
  say('## More rows, bfloat16');
  say();
  say('Above 256 rows tiles of the matrix are decoded for cuBLAS. "Backward" is to the input, the');
  say("time of both less that of forward; bitsandbytes' backward is not measured.");
  say();
  table(
    [
      ...['weight', 'rows', 'µs', 'Tflop/s', 'decoded + cuBLAS, µs', 'times faster'],
      ...['bitsandbytes, µs', 'times faster'],
      ...['backward, µs', 'decoded + cuBLAS, µs', 'times faster'],
    ],
    many.map((row) => [
      ...[row.shape.join(' x '), String(row.rows), row.nf4.toFixed(1)],
      ((2 * row.rows * row.shape[0] * row.shape[1]) / 1e6 / row.nf4).toFixed(0),
      ...times(row.nf4, row.decoded),
      ...bnb(row),
      row.backward!.nf4.toFixed(1),
      ...times(row.backward!.nf4, row.backward!.decoded),
    ]),
  );
}

/** One token through a decoder of Qwen-7B's shape, `past` tokens already in its caches. */
function decodeStep(): void {
  const [layers, hidden, heads, inner, past, vocabulary] = dry
    ? ([2, 128, 4, 192, 8, 64] as const)
    : ([32, 4096, 32, 11008, 512, 156032] as const);
  const headDim = hidden / heads;
  scope(() =>
    noGrad(() => {
      const made = new Map<string, Quantized>();
      const weight = (out: number, width: number): Quantized => {
        const first = made.get(`${out} x ${width}`) ?? randomWeight([out, width]);
        made.set(`${out} x ${width}`, first);
        return { ...first, packed: first.packed.clone() };
      };
      const norm = ones([hidden], { device }).to('bfloat16');
      const cache = (): Tensor => zeros([1, heads, past + 1, headDim], { device }).to('bfloat16');
      const stack = Array.from({ length: layers }, () => ({
        ...{ q: weight(hidden, hidden), k: weight(hidden, hidden), v: weight(hidden, hidden) },
        ...{ o: weight(hidden, hidden), gate: weight(inner, hidden), up: weight(inner, hidden) },
        ...{ down: weight(hidden, inner), keys: cache(), values: cache() },
      }));
      const head = weight(vocabulary, hidden);
      const angles = randn([1, 1, 1, headDim]).to('bfloat16', device);
      const [cos, sin] = [angles.cos(), angles.sin()];
      const x = randn([1, 1, hidden]).to('bfloat16', device);
      const times = (input: Tensor, { packed, quantState }: Quantized): Tensor =>
        matmul4bit(input, packed, quantState);
      const split = (t: Tensor): Tensor => t.reshape([1, 1, heads, headDim]).transpose(1, 2);
      const rotate = (t: Tensor): Tensor => {
        const half = headDim / 2;
        const swapped = cat([t.narrow(-1, half, half), t.narrow(-1, 0, half)], -1);
        return t.mul(cos).add(swapped.mul(sin));
      };
      const layer = (state: Tensor, at: (typeof stack)[number]): Tensor => {
        const normed = F.rmsNorm(state, [hidden], norm);
        at.keys.narrow(2, past, 1).copy_(rotate(split(times(normed, at.k))));
        at.values.narrow(2, past, 1).copy_(split(times(normed, at.v)));
        const attended = F.scaledDotProductAttention(
          rotate(split(times(normed, at.q))),
          at.keys,
          at.values,
          { scale: headDim ** -0.5 },
        );
        const after = state.add(times(attended.transpose(1, 2).reshape([1, 1, hidden]), at.o));
        const wide = F.rmsNorm(after, [hidden], norm);
        const gated = F.silu(times(wide, at.gate)).mul(times(wide, at.up));
        return after.add(times(gated, at.down));
      };
      const step = (): void => {
        const last = stack.reduce((state, at) => scope(() => layer(state, at)), x);
        times(F.rmsNorm(last, [hidden], norm), head).argmax(-1);
      };
      const eager: Contestant = { queue: () => scope(step), calls: 1, dispose: () => {} };
      eager.queue();
      const result = race({ eager, graph: captured(1, step) });
      const weights = layers * (4 * hidden * hidden + 3 * hidden * inner) + vocabulary * hidden;
      const gigabytes = (weights * (1 / 2 + 1 / 64)) / 1e9;
      say(`## A decode step of ${layers} layers, ${past} tokens in the caches, all weights in NF4`);
      say();
      table(
        ['', 'ms', 'tokens/s', 'packed GB/s'],
        Object.entries(result).map(([name, us]) => [
          name === 'graph' ? 'one captured graph' : 'operator by operator',
          (us / 1e3).toFixed(3),
          (1e6 / us).toFixed(0),
          ((gigabytes * 1e6) / us).toFixed(0),
        ]),
      );
    }),
  );
}

function main(): void {
  say('# Results on CUDA');
  say();
  say('Made by `npm run bench:cuda` (bench/cuda.ts), which says what is timed and how.');
  say();
  const name = dry ? 'dry run' : cudaDeviceName();
  const bandwidth = copyBandwidth();
  say(
    `${name}; libtorch ${torchVersion()}, Node ${process.versions.node}; copying moves ` +
      `${bandwidth.toFixed(0)} GB/s; medians of ${rounds} rounds.`,
  );
  products(bandwidth);
  decodeStep();
  if (uncaptured > 0) say(`${uncaptured} contestants could not be captured in a graph.`);
  if (!dry) writeFileSync(join(root, 'bench/RESULTS-CUDA.md'), `${lines.join('\n').trim()}\n`);
}

main();
