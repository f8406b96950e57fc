/**
 * The CPU kernels of NF4, one instruction set beside the other, beside libtorch's products on a
 * matrix that is already decoded, and beside what the memory gives. All take turns, so that all see
 * the same machine; each reads other matrices each time, more than a cache holds. Goals: products
 * of few rows at 75 % of the read bandwidth and 3.5 times libtorch's bfloat16; of many rows at 90 %
 * of libtorch's speed.
 */
import { dequantizeNf4, matmul4bit, quantizeNf4, type FloatDType } from '../../lib/nf4';
import {
  backward,
  functional as F,
  Generator,
  noGrad,
  randn,
  scope,
  torchVersion,
  zeros,
  type Tensor,
} from '../../lib/torch';
import { binding } from '../../lib/torch/binding';
import { median } from '../race';
import { machine, print, rounds } from '../settings';

const generator = new Generator(1);
const paths = binding.nf4CpuPaths();
/** Bytes that contestants read in turn, well above the size of the last cache. */
const coldBytes = 192e6;

interface Contestant {
  name: string;
  /** Called with the number of the call. */
  run(call: number): void;
  path?: string;
  /** What is timed apart from the rest of a call, if not all of it. */
  timed?: () => number;
}

function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Milliseconds a call of each contestant, round by round. */
function race(contestants: readonly Contestant[]): Map<string, number[]> {
  const times = new Map<string, number[]>(contestants.map(({ name }) => [name, []]));
  let call = 0;
  const measure = ({ run, path, timed }: Contestant, calls: number): number => {
    if (path !== undefined) binding.nf4UseCpuPath(path);
    let spent = 0;
    for (let i = 0; i < calls; i++) {
      const start = now();
      scope(() => run(call++));
      spent += timed === undefined ? now() - start : timed();
    }
    return spent / calls;
  };
  const calls = contestants.map((c) => {
    measure(c, 1);
    return Math.max(1, Math.min(200, Math.round(30 / measure(c, 1))));
  });
  for (let round = 0; round < rounds; round++) {
    for (const [i, c] of contestants.entries()) times.get(c.name)!.push(measure(c, calls[i]!));
  }
  return times;
}

/** The median over the rounds of how much longer `slow` took than `fast`. */
function ratio(times: ReadonlyMap<string, number[]>, slow: string, fast: string): string {
  const pairs = times.get(slow)!.map((value, round) => value / times.get(fast)![round]!);
  return median(pairs).toFixed(2);
}

function table(title: string, head: readonly string[], rows: readonly string[][]): void {
  console.log(`\n### ${title}\n\n| ${head.join(' | ')} |\n|${head.map(() => '---|').join('')}`);
  for (const row of rows) console.log(`| ${row.join(' | ')} |`);
}

/** Reads and writes 256 MiB, which no cache holds. */
const large = zeros([1 << 26]);
const largeGigabytes = 2 ** 28 / 1e9;
const read: Contestant = { name: 'read', run: () => void large.sum() };
const write: Contestant = { name: 'write', run: () => void noGrad(() => large.zero_()) };

type Shape = readonly [outFeatures: number, inFeatures: number];
const shapes: Shape[] = [
  [4096, 4096],
  [11008, 4096],
  [4096, 11008],
];

/** As many copies of a matrix as make every call find it in memory, not in a cache. */
function copies<T>(bytes: number, make: () => T): T[] {
  return Array.from({ length: Math.ceil(coldBytes / bytes) }, make);
}

function matrices(shape: Shape): {
  packed: ReturnType<typeof quantizeNf4>[];
  dense: Record<'float32' | 'bfloat16', Tensor[]>;
  bytes: number;
} {
  const values = shape[0] * shape[1];
  const source = randn([...shape], { generator });
  const first = quantizeNf4(source);
  const dense = dequantizeNf4(first.packed, first.quantState);
  const bytes = values / 2 + values / 64; // and a byte of absmax a block
  return {
    bytes,
    packed: copies(bytes, () => quantizeNf4(source)),
    dense: {
      float32: copies(4 * values, () => dense.clone()),
      bfloat16: copies(2 * values, () => dense.to('bfloat16')),
    },
  };
}

function at<T>(items: readonly T[], call: number): T {
  return items[call % items.length]!;
}

function fewRows(): void {
  for (const shape of shapes) {
    scope(() => {
      const { packed, dense, bytes } = matrices(shape);
      const rows: string[][] = [];
      for (const batch of [1, 2, 4, 8]) {
        const x = randn([batch, shape[1]], { generator });
        const half = x.to('bfloat16');
        // Where gradients are asked for, F.linear is libtorch's own product, not ours of few rows.
        const traced = half.detach();
        traced.requiresGrad = true;
        const times = race([
          read,
          { name: 'float32', run: (i) => void F.linear(x, at(dense.float32, i)) },
          { name: 'bfloat16', run: (i) => void F.linear(traced, at(dense.bfloat16, i)) },
          ...paths.map((path) => ({
            name: path,
            path,
            run: (i: number) =>
              void matmul4bit(half, at(packed, i).packed, at(packed, i).quantState),
          })),
        ]);
        const bandwidth = largeGigabytes / (median(times.get('read')!) / 1e3);
        for (const path of paths) {
          const milliseconds = median(times.get(path)!);
          const rate = bytes / 1e6 / milliseconds;
          rows.push([
            String(batch),
            path,
            milliseconds.toFixed(3),
            rate.toFixed(1),
            bandwidth.toFixed(1),
            `${((100 * rate) / bandwidth).toFixed(0)} %`,
            ratio(times, 'bfloat16', path),
            ratio(times, 'float32', path),
          ]);
        }
      }
      table(
        `Few rows, weight [${shape.join(', ')}], bfloat16 in and out`,
        [
          ...['rows', 'kernels', 'ms', 'packed GB/s', 'memory GB/s', 'of memory'],
          ...['times libtorch bfloat16', 'times libtorch float32'],
        ],
        rows,
      );
    });
  }
}

function manyRows(): void {
  const cases: [Shape, number[]][] = [
    [shapes[0]!, [16, 64, 256, 2048]],
    [shapes[1]!, [16, 256]],
    [shapes[2]!, [16, 256]],
  ];
  const cells: string[][] = [];
  for (const [shape, batches] of cases) {
    scope(() => {
      const { packed, dense } = matrices(shape);
      for (const batch of batches) {
        const x = randn([batch, shape[1]], { generator });
        const y = randn([batch, shape[0]], { generator });
        for (const dtype of ['float32', 'bfloat16'] as const) {
          const input = x.to(dtype).detach();
          input.requiresGrad = true;
          const gradient = y.to(dtype);
          const fastest = paths.at(-1)!;
          const multiply = {
            libtorch: (i: number) => F.linear(input, at(dense[dtype], i)),
            nf4: (i: number) => matmul4bit(input, at(packed, i).packed, at(packed, i).quantState),
          };
          /** Forward without autograd; backward alone. */
          const both = (name: 'libtorch' | 'nf4'): Contestant[] => {
            let spent = 0;
            return [
              { name, path: fastest, run: (i) => void noGrad(() => multiply[name](i)) },
              {
                name: `${name} backward`,
                path: fastest,
                run: (i) => {
                  const result = multiply[name](i);
                  const start = now();
                  backward(result, gradient);
                  spent = now() - start;
                  input.grad = undefined;
                },
                timed: () => spent,
              },
            ];
          };
          const times = race([...both('libtorch'), ...both('nf4')]);
          cells.push([
            `[${shape.join(', ')}]`,
            String(batch),
            dtype,
            ...['libtorch', 'nf4'].map((name) => median(times.get(name)!).toFixed(2)),
            ratio(times, 'libtorch', 'nf4'),
            ...['libtorch', 'nf4'].map((n) => median(times.get(`${n} backward`)!).toFixed(2)),
            ratio(times, 'libtorch backward', 'nf4 backward'),
          ]);
        }
      }
    });
  }
  table(
    `Many rows, panel by panel (${paths.at(-1)!})`,
    [
      ...['weight', 'rows', 'dtype', 'libtorch ms', 'NF4 ms', 'speed of libtorch'],
      ...['libtorch backward ms', 'NF4 backward ms', 'speed of libtorch'],
    ],
    cells,
  );
}

function conversions(): void {
  const cells: string[][] = [];
  for (const dtype of ['float32', 'bfloat16', 'float16'] satisfies FloatDType[]) {
    scope(() => {
      const size = dtype === 'float32' ? 4 : 2;
      const source = randn([4096, 11008], { generator }).to(dtype);
      const gigabytes = (source.numel * size) / 1e9;
      const { packed, quantState } = quantizeNf4(source);
      const mine = paths.slice(0, 3);
      const times = race([
        read,
        write,
        ...mine.flatMap((path) => [
          { name: `quantize ${path}`, path, run: () => void quantizeNf4(source) },
          { name: `decode ${path}`, path, run: () => void dequantizeNf4(packed, quantState) },
        ]),
      ]);
      const memory = (name: string): number => largeGigabytes / (median(times.get(name)!) / 1e3);
      for (const path of mine) {
        const rate = (what: string): number =>
          gigabytes / (median(times.get(`${what} ${path}`)!) / 1e3);
        cells.push([
          dtype,
          path,
          rate('quantize').toFixed(1),
          `${((100 * rate('quantize')) / memory('read')).toFixed(0)} %`,
          ratio(times, 'quantize portable', `quantize ${path}`),
          rate('decode').toFixed(1),
          `${((100 * rate('decode')) / memory('write')).toFixed(0)} %`,
          ratio(times, 'decode portable', `decode ${path}`),
        ]);
      }
    });
  }
  table(
    'Quantise and decode [4096, 11008], double quantisation',
    [
      ...['dtype', 'kernels', 'quantise GB/s', 'of reading', 'times portable'],
      ...['decode GB/s', 'of writing', 'times portable'],
    ],
    cells,
  );
}

print(
  '## NF4 kernels beside libtorch',
  'Straight from packed weights in memory, more of them than a cache holds. Goals for one to eight ' +
    'rows: 75 % of the read bandwidth measured in the same run, 3.5 times libtorch’s bfloat16 product ' +
    'of the decoded matrix; for more, panel by panel: 90 % of libtorch’s speed on a decoded matrix; ' +
    'decoding at the speed of writing.',
  '- `avx512bf16` multiplies in bfloat16 with the weights rounded to it. From four rows on its sums, not ' +
    'the memory, are the limit: on a Zen 5, which begins two products a cycle, those of eight rows take ' +
    '1.8 times as long as the memory would, on a Zen 4 twice that (see “Where few rows of bfloat16 ' +
    'end”, for AVX2 and float32, too).\n' +
    '- The memory is read as libtorch allocates it, in pages of 4 KB; packed weights have large ones.\n' +
    '- Decoding through the API writes fresh pages, which the kernel clears first: half of the time.',
  `${machine(`libtorch ${torchVersion()}`, `Node ${process.versions.node}`)}; ${rounds} rounds`,
);
fewRows();
manyRows();
conversions();
console.log();
