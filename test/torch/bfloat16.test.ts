/** Training parameters in bfloat16: stochastic rounding, sums of gradients, norms. */
import { createHash } from 'node:crypto';
import {
  backward,
  functional as F,
  Generator,
  keep,
  nn,
  numThreads,
  ones,
  optim,
  randn,
  scope,
  setNumThreads,
  tensor,
  type DType,
  type Tensor,
} from '../../lib/torch';

const optimizers = [
  ['AdamW', optim.AdamW],
  ['AdamW8bit', optim.AdamW8bit],
] as const;

type Optimizers = (typeof optimizers)[number][1];

function optimizerOf(
  Optimizer: Optimizers,
  parameters: Record<string, Tensor>,
  options: ConstructorParameters<Optimizers>[1] = { roundingSeed: 1 },
): optim.Optimizer {
  const map = new Map(Object.entries(parameters));
  return new Optimizer([{ parameters: map, weightDecay: 0 }], options);
}

function values(count: number, step: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => ((i * 31 + step * 17) % 257) / 128 - 1);
}

/** SHA-256 of parameters and states after some steps, of more values than one thread takes. */
function roundedSteps(steps: number = 3): Record<string, string> {
  const count = 100_003;
  const result: Record<string, string> = {};
  for (const [name, Optimizer] of Object.entries({
    adamw: optim.AdamW,
    adamw8bit: optim.AdamW8bit,
  })) {
    const dtype: DType = 'bfloat16';
    const weight = nn.parameter(tensor(values(count, 0), { dtype }));
    const groups = [{ parameters: new Map([['weight', weight]]), weightDecay: 0.1 }];
    const optimizer = new Optimizer(groups, { roundingSeed: 11 });
    for (let step = 1; step <= steps; step++) {
      scope(() => {
        weight.grad = tensor(values(count, step), { dtype });
        optimizer.step(1e-3);
      });
    }
    const hash = createHash('sha256');
    for (const value of [weight, ...optimizer.stateDict().values()]) {
      hash.update(value.detach().toBytes());
    }
    result[name] = hash.digest('hex');
    optimizer.dispose();
    weight.dispose();
  }
  return result;
}

const bfloat16 = (data: ArrayLike<number>): Tensor =>
  tensor(Float32Array.from(data), { dtype: 'bfloat16' });
const mean = (data: readonly number[]): number => data.reduce((a, b) => a + b) / data.length;

describe.each(optimizers)('%s', (_, Optimizer) => {
  test('rounds to one of both neighbours, and to the value on average', () => {
    const count = 2 ** 16;
    // bfloat16's neighbours of what a first step of 1e-4 to 3e-3 makes of 1 and of -1.
    const below = 2 ** -8;
    for (const lr of [1e-4, 1e-3, 3e-3]) {
      for (const sign of [1, -1]) {
        scope(() => {
          const weight = nn.parameter(bfloat16(new Array<number>(count).fill(sign)));
          const optimizer = optimizerOf(Optimizer, { weight });
          weight.grad = bfloat16(new Array<number>(count).fill(sign));
          optimizer.step(lr);
          const rounded = weight.toArray();
          expect(new Set(rounded)).toEqual(new Set([sign, sign * (1 - below)]));
          const share = lr / below;
          const deviation = below * Math.sqrt((share * (1 - share)) / count);
          expect(Math.abs(mean(rounded) - sign * (1 - lr))).toBeLessThan(4 * deviation);
          // Neighbours are rounded each by itself.
          const down = (i: number): boolean => rounded[i] !== sign;
          const pairs = Array.from(rounded.keys()).filter((i) => down(i) && down((i + 1) % count));
          const expected = share * share;
          expect(Math.abs(pairs.length / count - expected)).toBeLessThan(
            5 * Math.sqrt(expected / count),
          );
          optimizer.dispose();
          weight.dispose();
        });
      }
    }
  });

  test('other steps, parameters and seeds have other bits', () => {
    const count = 4096;
    const of = (seed: number, name: 'a' | 'b', steps: number): number[] =>
      scope(() => {
        const [a, b] = [0, 1].map(() => nn.parameter(ones([count], { dtype: 'bfloat16' })));
        const optimizer = optimizerOf(Optimizer, { a: a!, b: b! }, { roundingSeed: seed });
        for (let step = 1; step <= steps; step++) {
          for (const p of [a!, b!]) {
            scope(() => p.detach().copy_(ones([count])));
            p.grad = ones([count], { dtype: 'bfloat16' });
          }
          optimizer.step(1e-3);
        }
        const result = { a: a!, b: b! }[name].toArray();
        optimizer.dispose();
        a!.dispose();
        b!.dispose();
        return result;
      });
    const first = of(1, 'a', 1);
    expect(of(1, 'a', 1)).toEqual(first);
    for (const other of [of(1, 'a', 2), of(1, 'b', 1), of(2, 'a', 1), of(-1, 'a', 1)]) {
      const same = other.filter((value, i) => value === first[i]).length / count;
      // A share of 0.256 goes down: 0.62 of independent ones are alike.
      expect(same).toBeGreaterThan(0.55);
      expect(same).toBeLessThan(0.69);
    }
  });

  test('without a gradient in its value nothing moves, whatever the value', () => {
    scope(() => {
      // Every bfloat16 there is: zeros, subnormals, infinities, each NaN.
      const bits = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
      const all = Float32Array.from(
        bits,
        (b) => new Float32Array(Uint32Array.of(b << 16).buffer)[0]!,
      );
      const weight = nn.parameter(bfloat16(all));
      const optimizer = optimizerOf(Optimizer, { weight });
      for (let step = 0; step < 10; step++) {
        weight.grad = bfloat16(new Float32Array(2 ** 16));
        optimizer.step(0.1);
      }
      const after = weight.toArray();
      const moved = [...all.keys()].filter((i) => !Object.is(after[i], all[i]) && !(all[i] === 0));
      expect(moved).toEqual([]);
      optimizer.dispose();
      weight.dispose();
    });
  });

  test('NaN and infinity are seen, subnormals are rounded as others', () => {
    scope(() => {
      const least = 2 ** -133; // of bfloat16
      const weight = nn.parameter(bfloat16([1, 1, Infinity, 8 * least, 8 * least]));
      const optimizer = optimizerOf(Optimizer, { weight });
      weight.grad = bfloat16([NaN, 1, 1, 1, -1]);
      optimizer.step(4 * least);
      const [nan, same, infinite, less, more] = weight.toArray();
      expect(nan).toBeNaN();
      expect(infinite).toBe(Infinity);
      // One NaN may cost the absmax of its block, no more than that.
      if (Optimizer === optim.AdamW) {
        expect(same).toBe(1);
        expect([less, more]).toEqual([4 * least, 12 * least]);
      }
      optimizer.dispose();
      weight.dispose();
    });
  });

  test('200 steps: as near as float32, where rounding to the nearest does not move', () => {
    const count = 512;
    const targets = Array.from({ length: count }, (_, i) => 1 + 0.1 * Math.sin(i));
    const run = (dtype: 'float32' | 'bfloat16', roundingSeed?: number): number =>
      scope(() => {
        const weight = nn.parameter(ones([count], { dtype }));
        const optimizer = optimizerOf(Optimizer, { weight }, { roundingSeed });
        const target = tensor(targets);
        const distance = (): Tensor => weight.to('float32').sub(target).square().mean();
        for (let step = 0; step < 200; step++) {
          scope(() => {
            backward(distance());
            optimizer.step(1e-3 * (1 - step / 200));
            optimizer.zeroGrad();
          });
        }
        const result = Math.sqrt(distance().item());
        optimizer.dispose();
        weight.dispose();
        return result;
      });
    const start = Math.sqrt(mean(targets.map((t) => (t - 1) ** 2)));
    expect(start).toBeGreaterThan(0.07);
    expect(run('float32')).toBeLessThan(0.02);
    // A last bit near to 1 is 0.004 or 0.008.
    expect(run('bfloat16', 1)).toBeLessThan(0.02);
    expect(run('bfloat16')).toBeGreaterThan(0.9 * start);
  });

  test('saved and loaded elsewhere, the rest is the same to the bit', () => {
    const make = (): { weight: Tensor; optimizer: optim.Optimizer } => {
      const weight = nn.parameter(bfloat16(values(5000, 0)));
      return { weight, optimizer: optimizerOf(Optimizer, { weight }) };
    };
    const run = (
      { weight, optimizer }: ReturnType<typeof make>,
      from: number,
      to: number,
    ): void => {
      for (let step = from; step <= to; step++) {
        scope(() => {
          weight.grad = bfloat16(values(5000, step));
          optimizer.step(1e-3);
        });
      }
    };
    const [a, b] = [make(), make()];
    run(a, 1, 7);
    scope(() => {
      b.weight.detach().copy_(a.weight.detach());
      b.optimizer.loadStateDict(
        new Map(Array.from(a.optimizer.stateDict(), ([name, t]) => [name, keep(t.clone())])),
      );
    });
    run(a, 8, 12);
    run(b, 8, 12);
    expect(b.weight.equal(a.weight)).toBe(true);
    for (const [name, state] of b.optimizer.stateDict()) {
      expect([name, state.equal(a.optimizer.stateDict().get(name)!)]).toEqual([name, true]);
    }
  });

  test('a gradient in float32 is taken as it is', () => {
    // 1 + 2^-12 is 1 in bfloat16: only the second moment tells both apart, after some steps.
    const run = (dtype: 'float32' | 'bfloat16', value: number): string =>
      scope(() => {
        const weight = nn.parameter(ones([4096], { dtype: 'bfloat16' }));
        const optimizer = optimizerOf(Optimizer, { weight });
        weight.grad = tensor(new Float32Array(4096).fill(value), { dtype });
        optimizer.step(1e-3);
        const state = Array.from(optimizer.stateDict().values(), (s) => [...s.toArray()]);
        optimizer.dispose();
        weight.dispose();
        return JSON.stringify(state);
      });
    expect(run('float32', 1.5)).toBe(run('bfloat16', 1.5));
    expect(run('float32', 1 + 2 ** -12)).not.toBe(run('bfloat16', 1 + 2 ** -12));
  });
});

test('the number of threads changes nothing', () => {
  const before = numThreads();
  const of = (threads: number): unknown => {
    setNumThreads(threads);
    return roundedSteps();
  };
  try {
    const one = of(1);
    expect(of(2)).toEqual(one);
    expect(of(5)).toEqual(one);
    expect(roundedSteps(4)).not.toEqual(one);
  } finally {
    setNumThreads(before);
  }
});

test('moments are float32 beside stochastic rounding, and as torch’s without', () => {
  const weight = nn.parameter(ones([8], { dtype: 'bfloat16' }));
  const dtypeOf = (options: object): string => {
    const optimizer = optimizerOf(optim.AdamW, { weight }, options);
    const { dtype } = optimizer.stateDict().get('weight.exp_avg')!;
    optimizer.dispose();
    return dtype;
  };
  expect(dtypeOf({ roundingSeed: 1 })).toBe('float32');
  expect(dtypeOf({})).toBe('bfloat16');
  weight.dispose();
});

describe('gradients', () => {
  test('of many micro-batches are summed in float32, where bfloat16 stops', () => {
    const sum = (inFloat32: boolean): Tensor =>
      scope(() => {
        const weight = nn.parameter(ones([64], { dtype: 'bfloat16' }));
        const optimizer = optimizerOf(optim.AdamW8bit, { weight });
        for (let micro = 0; micro < 1024; micro++) {
          if (micro === 1 && inFloat32) optimizer.sumGradInFloat32();
          scope(() => backward(weight.mul(2 ** -10).sum()));
        }
        const gradient = keep(weight.grad!.clone());
        // A step takes it; the next sum is float32 from the first on.
        optimizer.step(1e-3);
        optimizer.zeroGrad();
        scope(() => backward(weight.sum()));
        expect(weight.grad!.dtype).toBe(inFloat32 ? 'float32' : 'bfloat16');
        optimizer.dispose();
        weight.dispose();
        return gradient;
      });
    const [exact, lossy] = [sum(true), sum(false)];
    expect(exact.dtype).toBe('float32');
    expect(exact.toArray()).toEqual(new Array(64).fill(1));
    expect(lossy.toArray()).toEqual(new Array(64).fill(0.25));
  });

  test('their norm is a sum in float32', () => {
    scope(() => {
      const weight = nn.parameter(ones([100_003], { dtype: 'bfloat16' }));
      weight.grad = ones([100_003], { dtype: 'bfloat16' });
      const norm = optim.clipGradNorm([weight], 1);
      expect(norm).toBeCloseTo(Math.sqrt(100_003), 3);
      const clipped = weight.grad.to('float32').square().sum().sqrt().item();
      expect(clipped).toBeGreaterThan(0.99);
      expect(clipped).toBeLessThan(1.01);
      weight.dispose();
    });
  });

  test('a net with norms: gradients are those of float32 but for rounding', () => {
    scope(() => {
      const make = (dtype: 'float32' | 'bfloat16'): Tensor[] => {
        const generator = new Generator(3);
        const of = (shape: number[]): Tensor =>
          nn.parameter(randn(shape, { generator }).to('bfloat16').to(dtype));
        const [weight, scale, x] = [of([32, 32]), of([32]), of([8, 32])];
        const y = F.rmsNorm(F.linear(x!, weight!), [32], scale!, 1e-6);
        backward(y.to('float32').square().mean());
        return [weight!, scale!].map((p) => p.grad!.to('float32'));
      };
      const [exact, half] = [make('float32'), make('bfloat16')];
      for (const [i, gradient] of half.entries()) {
        const error = gradient.sub(exact[i]!).square().sum().sqrt().item();
        expect(error / exact[i]!.square().sum().sqrt().item()).toBeLessThan(0.02);
      }
    });
  });
});
