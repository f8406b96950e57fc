/** Fused operations against the chains of small ones that they stand for, forward and backward. */
import {
  autocast,
  backward,
  cat,
  functional as F,
  Generator,
  noGrad,
  rand,
  randn,
  scope,
  tensor,
  type DType,
  type Tensor,
} from '../../lib/torch';

const dtypes = ['float32', 'bfloat16'] as const;
const tolerance = { float32: 2e-6, bfloat16: 1.2e-2 };

function leaf(values: Tensor, dtype: DType): Tensor {
  const result = values.to(dtype).detach();
  result.requiresGrad = true;
  return result;
}

/** The largest difference, over the largest value. */
function difference(actual: Tensor, expected: Tensor): number {
  const [a, b] = noGrad(() =>
    scope(() => [actual, expected].map((t) => t.to('float64').reshape([-1]).toArray() as number[])),
  ) as [number[], number[]];
  const largest = b.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-30);
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0) / largest;
}

/**
 * Result and gradients of `fused` on values of `dtype` beside those of `chain` on the same values in
 * float64.
 */
function compare(
  dtype: 'float32' | 'bfloat16',
  inputs: readonly Tensor[],
  fused: (...x: Tensor[]) => Tensor,
  chain: (...x: Tensor[]) => Tensor,
): void {
  const generator = new Generator(99);
  const own = inputs.map((x) => leaf(x, dtype));
  const reference = own.map((x) => leaf(x.detach(), 'float64'));
  const [result, expected] = [fused(...own), chain(...reference)];
  expect(result.dtype).toBe(dtype);
  expect(result.shape).toEqual(expected.shape);
  expect(difference(result, expected)).toBeLessThan(tolerance[dtype]);
  const gradient = randn(result.shape, { generator });
  backward(result, gradient.to(dtype));
  backward(expected, gradient.to(dtype).to('float64'));
  for (const [i, x] of own.entries()) {
    expect(difference(x.grad!, reference[i]!.grad!)).toBeLessThan(2 * tolerance[dtype]);
  }
}

const check = (name: string, body: () => void): void => test(name, () => void scope(body));

describe.each(dtypes)('rmsNorm in %s', (dtype) => {
  const chain = (x: Tensor, w: Tensor): Tensor =>
    x.div(x.mul(x).mean(-1, true).add(1e-5).sqrt()).mul(w);

  test.each([[[3, 5, 64]], [[1, 1, 896]], [[7, 33]], [[40, 4]]])('of %j', (shape) => {
    scope(() => {
      const generator = new Generator(1);
      const size = shape.at(-1)!;
      const inputs = [randn(shape, { generator }).mul(3), rand([size], { generator }).add(0.5)];
      compare(dtype, inputs, (x, w) => F.rmsNorm(x, [size], w, 1e-5), chain);
    });
  });

  check('without gradients, and of a view', () => {
    const x = randn([6, 4, 32], { generator: new Generator(2) }).to(dtype);
    const w = rand([32], { generator: new Generator(3) }).to(dtype);
    const view = x.transpose(0, 1);
    const result = noGrad(() => F.rmsNorm(view, [32], w, 1e-5));
    const expected = chain(view.to('float64'), w.to('float64'));
    expect(difference(result, expected)).toBeLessThan(tolerance[dtype]);
  });

  check('rounds as Qwen2RMSNorm: to the dtype, then the weight', () => {
    const x = randn([4, 64], { generator: new Generator(4) }).to(dtype);
    const w = rand([64], { generator: new Generator(5) }).to(dtype);
    const f = x.to('float32');
    const scale = f.mul(f).mean(-1, true).add(1e-6).rsqrt();
    const expected = f.mul(scale).to(dtype).mul(w);
    expect(difference(F.rmsNorm(x, [64], w, 1e-6), expected)).toBeLessThan(
      dtype === 'float32' ? 1e-6 : 1e-9,
    );
  });
});

describe.each(dtypes)('swiglu in %s', (dtype) => {
  const chain = (gate: Tensor, up: Tensor): Tensor => F.silu(gate).mul(up);

  test.each([[[2, 3, 48]], [[1, 4864]], [[5, 7]]])('of %j', (shape) => {
    scope(() => {
      const generator = new Generator(6);
      const inputs = [randn(shape, { generator }).mul(4), randn(shape, { generator })];
      compare(dtype, inputs, F.swiglu, chain);
    });
  });

  check('at the ends of the range', () => {
    const gate = tensor([-1000, -104, -89, -30, 0, 30, 89, 1000, Infinity, -Infinity, NaN]);
    const up = tensor(new Array<number>(11).fill(2));
    const result = F.swiglu(gate.to(dtype), up.to(dtype)).to('float32').toArray() as number[];
    expect(result.slice(0, 3).every((x) => Math.abs(x) < 1e-30)).toBe(true);
    expect(result[4]).toBe(0);
    expect(result.slice(5, 9)).toEqual([60, expect.closeTo(178, 0), 2000, Infinity]);
    expect(result.slice(9)).toEqual([NaN, NaN]);
  });

  check('refuses two shapes', () => {
    const x = randn([2, 3]).to(dtype);
    expect(() => F.swiglu(x, x.narrow(1, 0, 2))).toThrow(/not of one shape/);
  });
});

describe.each(dtypes)('rotary in %s', (dtype) => {
  const chain = (x: Tensor, cos: Tensor, sin: Tensor): Tensor => {
    const half = x.size(-1) / 2;
    const parts = [x.narrow(-1, half, half), x.narrow(-1, 0, half)] as const;
    const first = x.narrow(-1, 0, half).mul(cos.narrow(-1, 0, half));
    const second = parts[0].mul(cos.narrow(-1, half, half));
    return cat(
      [
        first.add(parts[0].mul(sin.narrow(-1, 0, half))),
        second.add(parts[1].mul(sin.narrow(-1, half, half))),
      ],
      -1,
    );
  };

  test.each([
    [1, [2, 3, 5, 16]],
    [2, [2, 4, 1, 8]],
  ])('with tables of %i rows, of %j', (rows, shape) => {
    scope(() => {
      const generator = new Generator(7);
      const [, , time, d] = shape as [number, number, number, number];
      const cos = rand([rows, 1, time, d], { generator }).to(dtype);
      const sin = rand([rows, 1, time, d], { generator }).to(dtype);
      const x = randn(shape, { generator });
      const own = (y: Tensor): Tensor => F.rotary(y, cos, sin);
      const wide = (y: Tensor): Tensor => chain(y, cos.to('float64'), sin.to('float64'));
      compare(dtype, [x], own, wide);
      // As a projection gives it: time before heads in memory.
      const swapped = (f: (y: Tensor) => Tensor) => (y: Tensor) => f(y.transpose(1, 2));
      compare(dtype, [x.transpose(1, 2).contiguous()], swapped(own), swapped(wide));
    });
  });

  check('refuses tables of another length', () => {
    const x = randn([1, 2, 3, 8]).to(dtype);
    const table = randn([1, 1, 4, 8]).to(dtype);
    expect(() => F.rotary(x, table, table)).toThrow(/rotary: x needs/);
  });
});

describe.each(dtypes)('lowRankUpdate in %s', (dtype) => {
  check('adds scale B A x', () => {
    const generator = new Generator(8);
    const [result, x] = [randn([2, 5, 12], { generator }), randn([2, 5, 20], { generator })];
    const [a, b] = [randn([4, 20], { generator }).mul(0.3), randn([12, 4], { generator }).mul(0.3)];
    compare(
      dtype,
      [result, x, a, b],
      (r, h, ...ab) => F.lowRankUpdate(r, h, ab[0]!, ab[1]!, 2),
      (r, h, ...ab) => r.add(F.linear(F.linear(h, ab[0]!), ab[1]!).mul(2)),
    );
  });
});

describe('lowRankUpdate of mixed dtypes', () => {
  check('computes in A, answers as the base', () => {
    const generator = new Generator(9);
    const result = randn([3, 6], { generator }).to('bfloat16');
    const x = leaf(randn([3, 8], { generator }), 'bfloat16');
    const a = leaf(randn([2, 8], { generator }), 'float32');
    const b = leaf(randn([6, 2], { generator }), 'float32');
    const sum = F.lowRankUpdate(result, x, a, b, 0.5);
    expect(sum.dtype).toBe('bfloat16');
    const wide = F.linear(F.linear(x.to('float32'), a), b)
      .mul(0.5)
      .add(result.to('float32'));
    expect(difference(sum, wide)).toBeLessThan(4e-3);
    backward(sum, randn([3, 6], { generator }).to('bfloat16'));
    expect([x.grad!.dtype, a.grad!.dtype, b.grad!.dtype]).toEqual([
      'bfloat16',
      'float32',
      'float32',
    ]);
  });

  check('computes in bfloat16 under autocast', () => {
    const generator = new Generator(10);
    const [result, x] = [randn([3, 6], { generator }), randn([3, 8], { generator })];
    const [a, b] = [randn([2, 8], { generator }), randn([6, 2], { generator })];
    const narrow = [x, a, b].map((t) => t.to('bfloat16'));
    const [h, p, q] = narrow as [Tensor, Tensor, Tensor];
    const expected = result.add(F.linear(F.linear(h, p), q).to('float32'));
    const sum = autocast(() => F.lowRankUpdate(result, x, a, b, 1));
    expect(sum.dtype).toBe('float32');
    expect(difference(sum, expected)).toBeLessThan(4e-3);
  });

  check('refuses matrices that do not fit', () => {
    const [x, a, b] = [randn([3, 8]), randn([2, 8]), randn([6, 3])];
    expect(() => F.lowRankUpdate(randn([3, 6]), x, a, b, 1)).toThrow(/low-rank update/);
  });
});

describe.each(dtypes)('attention in %s', (dtype) => {
  /** By its definition, in float64. */
  function chain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | undefined, scale: number): Tensor {
    const groups = q.size(1) / k.size(1);
    const [keys, values] = [k.repeatInterleave(groups, 1), v.repeatInterleave(groups, 1)];
    const scores = q.matmul(keys.transpose(2, 3)).mul(scale);
    return F.softmax(mask === undefined ? scores : scores.add(mask)).matmul(values);
  }

  const causalMask = (queries: number, keys: number): Tensor =>
    tensor(
      Float64Array.from({ length: queries * keys }, (_, i) =>
        i % keys > Math.floor(i / keys) ? -Infinity : 0,
      ),
      { shape: [1, 1, queries, keys] },
    );

  test.each([
    { batch: 1, heads: 2, kvHeads: 2, queries: 16, keys: 16, d: 16 },
    { batch: 2, heads: 4, kvHeads: 2, queries: 37, keys: 37, d: 64 },
    { batch: 1, heads: 7, kvHeads: 1, queries: 130, keys: 130, d: 32 },
    { batch: 3, heads: 6, kvHeads: 3, queries: 65, keys: 99, d: 48 },
    { batch: 1, heads: 2, kvHeads: 1, queries: 3, keys: 40, d: 64 },
    { batch: 1, heads: 2, kvHeads: 2, queries: 20, keys: 21, d: 10 },
  ])('$queries queries, $keys keys, $heads over $kvHeads heads of $d', (shape) => {
    const { batch, heads, kvHeads, queries, keys, d } = shape;
    scope(() => {
      const generator = new Generator(11);
      const q = randn([batch, heads, queries, d], { generator });
      const k = randn([batch, kvHeads, keys, d], { generator });
      const v = randn([batch, kvHeads, keys, d], { generator });
      const scale = 1.5 * d ** -0.5;
      const additive = randn([batch, 1, queries, keys], { generator }).to(dtype);
      const padding = tensor(
        Float32Array.from({ length: batch * keys }, (_, i) =>
          i % keys >= keys - 3 - Math.floor(i / keys) ? -Infinity : 0,
        ),
        { shape: [batch, 1, 1, keys] },
      );
      const masks: [Tensor | undefined, boolean][] = [
        [undefined, false],
        [additive, false],
        [padding.to(dtype), false],
        [padding, false],
      ];
      if (queries === keys) masks.push([undefined, true]);
      for (const [mask, causal] of masks) {
        const wide = causal ? causalMask(queries, keys) : mask?.to('float64');
        // CPU attention of libtorch wants a mask of q's dtype.
        const given = dtype === 'float32' ? mask?.to(dtype) : mask;
        if (given?.dtype === 'float32' && dtype === 'bfloat16' && d % 16 !== 0) continue;
        compare(
          dtype,
          [q, k, v],
          (...x) =>
            F.scaledDotProductAttention(x[0]!, x[1]!, x[2]!, { mask: given, causal, scale }),
          (...x) => chain(x[0]!, x[1]!, x[2]!, wide, scale),
        );
      }
    });
  });

  check('with a boolean mask, of views of projections', () => {
    const generator = new Generator(12);
    const [batch, time, heads, d] = [2, 48, 4, 32];
    const qkv = [0, 1, 2].map(() => randn([batch, time, heads, d], { generator }));
    const seen = tensor(
      Float32Array.from({ length: time * time }, (_, i) =>
        i % time <= Math.floor(i / time) ? 1 : 0,
      ),
      { shape: [1, 1, time, time] },
    ).eq(1);
    const heads4 = (x: Tensor): Tensor => x.transpose(1, 2);
    compare(
      dtype,
      qkv,
      (...x) => {
        const [q, k, v] = x.map(heads4) as [Tensor, Tensor, Tensor];
        return F.scaledDotProductAttention(q, k, v, { mask: seen, scale: d ** -0.5 });
      },
      (...x) => {
        const [q, k, v] = x.map(heads4) as [Tensor, Tensor, Tensor];
        return chain(q, k, v, causalMask(time, time), d ** -0.5);
      },
    );
  });

  check('refuses heads that do not divide', () => {
    const [q, k] = [randn([1, 3, 16, 16]).to(dtype), randn([1, 2, 16, 16]).to(dtype)];
    expect(() => F.scaledDotProductAttention(q, k, k, { scale: 1 })).toThrow(/do not fit/);
  });
});

describe('linear of few rows in bfloat16', () => {
  test.each([
    [1, 64, 7],
    [2, 33, 20],
    [3, 16, 5],
    [5, 100, 9],
    [8, 48, 33],
  ])('%i rows of %i values, %i columns', (rows, size, columns) => {
    scope(() => {
      const generator = new Generator(13);
      const x = randn([rows, size], { generator }).to('bfloat16');
      const weight = randn([columns, size], { generator }).to('bfloat16');
      const bias = randn([columns], { generator }).to('bfloat16');
      const [wideX, wideWeight] = [x.to('float64'), weight.to('float64')];
      const expected = F.linear(wideX, wideWeight);
      // Summed in float32 and rounded once: half a unit in the last place of bfloat16.
      expect(difference(F.linear(x, weight), expected)).toBeLessThan(2 ** -8);
      const shifted = F.linear(x.reshape([1, rows, size]), weight, bias);
      expect(shifted.shape).toEqual([1, rows, columns]);
      expect(
        difference(shifted.reshape([rows, columns]), expected.add(bias.to('float64'))),
      ).toBeLessThan(2 ** -8);
    });
  });

  check('is differentiable all the same', () => {
    const x = leaf(randn([2, 32], { generator: new Generator(14) }), 'bfloat16');
    const weight = leaf(randn([6, 32], { generator: new Generator(15) }), 'bfloat16');
    backward(F.linear(x, weight), randn([2, 6]).to('bfloat16'));
    expect([x.grad!.shape, weight.grad!.shape]).toEqual([
      [2, 32],
      [6, 32],
    ]);
  });
});
