import {
  autocast,
  backward,
  cat,
  checkpoint,
  discardCheckpoints,
  functional as F,
  Generator,
  grad,
  isGradEnabled,
  keep,
  manualSeed,
  memory,
  nn,
  noGrad,
  randn,
  scope,
  ScopeError,
  stack,
  tensor,
  where,
  type Tensor,
} from '../../lib/torch';
import { expectClose } from './vectors';

afterEach(() => discardCheckpoints());

/** Checks the gradient of a scalar function at `x` (float64) against central differences. */
function gradcheck(f: (x: Tensor) => Tensor, shape: number[], positive: boolean = false): void {
  scope(() => {
    const start = randn(shape, { dtype: 'float64', generator: new Generator(7) });
    const x = (positive ? start.abs().add(0.5) : start).detach();
    x.requiresGrad = true;
    // Weighted, so that the gradient of every output element counts.
    const loss = (at: Tensor): Tensor => {
      const y = f(at);
      const weights = randn(y.shape, { dtype: 'float64', generator: new Generator(8) });
      return y.mul(weights).sum();
    };
    backward(loss(x));
    const analytic = x.grad!.toArray();
    const values = x.toArray();
    const h = 1e-6;
    const numeric = values.map((value, i) =>
      noGrad(() => {
        const at = (v: number): number =>
          loss(
            tensor(
              values.map((old, j) => (i === j ? v : old)),
              { shape, dtype: 'float64' },
            ),
          ).item();
        return (at(value + h) - at(value - h)) / (2 * h);
      }),
    );
    expectClose(analytic, numeric, 1e-6);
  });
}

describe('gradients equal finite differences', () => {
  const d = (values: number[], shape: number[]): Tensor =>
    tensor(values, { shape, dtype: 'float64' });
  const w = (shape: number[]): Tensor =>
    randn(shape, { dtype: 'float64', generator: new Generator(9) });
  const ids = (...values: number[]): Tensor => tensor(values, { dtype: 'int64' });

  const cases: [string, (x: Tensor) => Tensor, number[], boolean?][] = [
    ['add, broadcast', (x) => x.add(d([1, 2, 3], [3])).add(2), [2, 1]],
    ['sub', (x) => w([2, 3]).sub(x), [3]],
    ['mul by itself', (x) => x.mul(x).mul(3), [2, 3]],
    ['div', (x) => w([2, 3]).div(x), [2, 3], true],
    ['pow', (x) => x.pow(3), [2, 3]],
    ['maximum', (x) => x.maximum(d([0.1, 0.2, 0.3], [3])), [2, 3]],
    ['matmul', (x) => x.matmul(w([3, 4])), [2, 3]],
    ['bmm', (x) => w([2, 2, 3]).bmm(x), [2, 3, 2]],
    ['exp', (x) => x.exp(), [3]],
    ['log, sqrt, rsqrt', (x) => x.log().add(x.sqrt()).add(x.rsqrt()), [3], true],
    ['sin, cos, tanh, sigmoid', (x) => x.sin().mul(x.cos()).add(x.tanh()).mul(x.sigmoid()), [3]],
    ['clamp', (x) => x.clamp(-0.3, 0.4), [5]],
    ['sum, mean, var', (x) => x.sum(0).add(x.mean(0)).add(x.var(0)), [3, 2]],
    ['amax', (x) => x.amax(1), [2, 3]],
    ['norm', (x) => x.norm(), [4]],
    ['cumsum', (x) => x.cumsum(0), [4]],
    ['topk', (x) => x.topk(2).values, [5]],
    ['reshape, permute, flip', (x) => x.reshape([3, 2]).permute([1, 0]).flip([0]), [2, 3]],
    ['expand, repeat', (x) => x.expand([2, 3]).repeatInterleave(2, 1), [2, 1]],
    ['narrow, select, slice', (x) => x.narrow(0, 1, 2).select(1, 0).add(x.slice(0, 0, 2).sum()), [3, 2]], // prettier-ignore
    ['indexSelect', (x) => x.indexSelect(0, ids(2, 0, 2)), [3, 2]],
    ['gather', (x) => x.gather(0, ids(1, 1, 0)), [3]],
    ['indexAdd', (x) => w([4, 2]).indexAdd(0, ids(0, 3, 0), x), [3, 2]],
    ['maskedFill, where', (x) => where(x.gt(0), x.square(), x.maskedFill(x.gt(1), 5)), [6]],
    ['maskedScatter', (x) => w([4]).maskedScatter(tensor([1, 0, 1, 0], { dtype: 'bool' }), x), [2]], // prettier-ignore
    ['cat, stack, split, pad', (x) => cat([x, stack([x, x], 0).select(0, 0)], 0).split([1, 3], 0)[1]!.pad([1, 1]), [2]], // prettier-ignore
    ['linear', (x) => F.linear(x, w([4, 3]), w([4])), [2, 3]],
    ['linear weight', (x) => F.linear(w([2, 3]), x), [4, 3]],
    ['embedding', (x) => F.embedding(x, ids(0, 2, 0)), [3, 2]],
    ['conv1d', (x) => F.conv1d(x, w([2, 3, 3]), w([2]), 2, 1), [1, 3, 6]],
    ['avgPool1d', (x) => F.avgPool1d(x, 2), [1, 2, 6]],
    ['layerNorm', (x) => F.layerNorm(x, [4], w([4]), w([4])), [2, 4]],
    ['rmsNorm', (x) => F.rmsNorm(x, [4], w([4])), [2, 4]],
    ['softmax', (x) => F.softmax(x).add(F.logSoftmax(x, 0)), [2, 3]],
    ['gelu, silu, relu', (x) => F.gelu(x).add(F.silu(x)).add(F.relu(x)), [5]],
    ['attention', (x) => F.scaledDotProductAttention(x, x, x, { causal: true, scale: 0.5 }), [1, 1, 3, 4]], // prettier-ignore
    ['crossEntropySum', (x) => F.crossEntropySum(x, ids(1, -100, 0)), [3, 4]],
    ['ctcLoss', (x) => F.ctcLoss(F.logSoftmax(x), ids(1, 2), ids(4), ids(2)), [4, 1, 3]],
  ];
  test.each(cases)('%s', (...[, f, shape, positive]) => gradcheck(f, shape, positive));
});

describe('the graph', () => {
  test('gradients add up until they are dropped', () => {
    scope(() => {
      const x = tensor([2, 3], { requiresGrad: true });
      expect([x.isLeaf, x.requiresGrad, x.grad]).toEqual([true, true, undefined]);
      backward(x.square().sum());
      backward(x.square().sum());
      expect(x.grad!.toArray()).toEqual([8, 12]);
      x.grad = undefined;
      expect(x.grad).toBeUndefined();
      backward(x.mul(2), tensor([1, 10]));
      expect(x.grad!.toArray()).toEqual([2, 20]);
    });
  });

  test('noGrad and detach cut it; noGrad ends with an error, too', () => {
    scope(() => {
      const x = tensor([2], { requiresGrad: true });
      expect(noGrad(() => x.mul(2)).requiresGrad).toBe(false);
      expect(x.mul(2).detach().requiresGrad).toBe(false);
      expect(() =>
        noGrad(() => {
          throw new Error('inside');
        }),
      ).toThrow('inside');
      expect(isGradEnabled()).toBe(true);
      expect(() => noGrad(async () => 1)).toThrow(ScopeError);
      expect(isGradEnabled()).toBe(true);
    });
  });

  test('grad() gives gradients without adding them up', () => {
    scope(() => {
      const x = tensor([2], { requiresGrad: true });
      const unused = tensor([1], { requiresGrad: true });
      const [gx, gu] = grad([x.pow(3).sum()], [x, unused]);
      expect(gx!.toArray()).toEqual([12]);
      expect(gu).toBeUndefined();
      expect(x.grad).toBeUndefined();
    });
  });

  test('backward twice through one graph is refused', () => {
    scope(() => {
      const y = tensor([2], { requiresGrad: true }).square().sum();
      backward(y);
      expect(() => backward(y)).toThrow(/^backward: Trying to backward.*second time/);
    });
  });

  test('a scope frees handles, not what backward needs', () => {
    scope(() => {
      const x = tensor([1, 2], { requiresGrad: true });
      const loss = scope(() => x.exp().mul(x).sum());
      backward(loss);
      expectClose(x.grad!.toArray(), [2 * Math.E, 3 * Math.E ** 2], 1e-6);
    });
  });
});

describe('checkpoint', () => {
  /** Two blocks with dropout between an input layer and a loss. */
  function run(wrap: (body: (x: Tensor) => Tensor, x: Tensor) => Tensor): number[][] {
    return scope(() => {
      const generator = new Generator(3);
      const layers = Array.from({ length: 4 }, () => new nn.Linear(6, 6, { generator }));
      const block =
        (layer: nn.Linear) =>
        (x: Tensor): Tensor =>
          x.add(F.dropout(F.gelu(layer.forward(x)), 0.4, true));
      manualSeed(11);
      let x = layers[0]!.forward(randn([5, 6], { generator }));
      x = wrap(block(layers[1]!), x);
      x = wrap(block(layers[2]!), x);
      const loss = layers[3]!.forward(x).square().mean();
      backward(loss);
      const after = randn([2]).toArray();
      const gradients = layers.flatMap((layer) => layer.parameters().map((p) => p.grad!.toArray()));
      for (const layer of layers) layer.dispose();
      return [[loss.item()], after, ...gradients];
    });
  }

  test('gives the loss, gradients and random state of plain backward, dropout included', () => {
    const plain = run((body, x) => body(x));
    const checkpointed = run(checkpoint);
    expect(checkpointed).toEqual(plain);
    // And dropout is at work: another seed gives another loss.
    expect(plain[0]).not.toEqual(run((body, x) => body(body(x)))[0]);
  });

  test('runs the body twice, and without autograd once', () => {
    scope(() => {
      const x = tensor([2], { requiresGrad: true });
      let calls = 0;
      const body = (a: Tensor): Tensor => {
        calls++;
        return a.square();
      };
      const y = checkpoint(body, x);
      expect(calls).toBe(1);
      backward(y.sum());
      expect([calls, x.grad!.toArray()]).toEqual([2, [4]]);
      noGrad(() => checkpoint(body, x));
      expect(calls).toBe(3);
    });
  });

  test('under autocast computes again in bfloat16, and gradients reach the weights', () => {
    const gradients = (layer: typeof checkpoint): (number | bigint)[][] =>
      scope(() => {
        const w = randn([16, 16], { generator: new Generator(6) });
        w.requiresGrad = true;
        const x = randn([4, 16], { generator: new Generator(7) });
        x.requiresGrad = true;
        const body = (a: Tensor): Tensor => F.gelu(F.linear(a, w));
        const y = autocast(() => layer(body, x));
        expect(y.dtype).toBe('bfloat16');
        backward(y.to('float32').square().sum());
        return [w.grad!.toArray(), x.grad!.toArray()];
      });
    expect(gradients(checkpoint)).toEqual(gradients((body, x) => body(x)));
  });

  test('inside a checkpoint', () => {
    scope(() => {
      const x = tensor([2], { requiresGrad: true });
      const w = tensor([3], { requiresGrad: true });
      const y = checkpoint((a) => checkpoint((b) => b.square().mul(w), a).mul(w), x);
      backward(y.sum());
      // y = x^2 w^2
      expect([x.grad!.toArray(), w.grad!.toArray()]).toEqual([[36], [24]]);
    });
  });

  test('of two forward passes: each backward takes its own', () => {
    scope(() => {
      const w = tensor([3], { requiresGrad: true });
      const a = checkpoint((x) => x.mul(w), tensor([1]));
      const b = checkpoint((x) => x.mul(w), tensor([10]));
      backward(b.sum());
      expect(w.grad!.toArray()).toEqual([10]);
      backward(a.sum());
      expect(w.grad!.toArray()).toEqual([11]);
    });
  });

  test('of a pass that had no backward does not disturb the next', () => {
    scope(() => {
      const w = tensor([3], { requiresGrad: true });
      scope(() =>
        checkpoint((x) => x.mul(w), tensor([1]))
          .sum()
          .item(),
      );
      backward(checkpoint((x) => x.mul(w), tensor([10])).sum());
      expect(w.grad!.toArray()).toEqual([10]);
    });
  });

  test('a body that throws while it is run again leaves the random state alone', () => {
    scope(() => {
      let calls = 0;
      const y = checkpoint(
        (x) => {
          if (++calls === 2) throw new Error('second run');
          return x.mul(2);
        },
        tensor([1], { requiresGrad: true }),
      );
      manualSeed(1);
      expect(() => backward(y.sum())).toThrow('second run');
      const drawn = randn([2]).toArray();
      manualSeed(1);
      expect(randn([2]).toArray()).toEqual(drawn);
      expect(isGradEnabled()).toBe(true);
    });
  });

  test('leaves no memory behind', () => {
    const layer = keep(new nn.Linear(8, 8, { generator: new Generator(1) }));
    const step = (): void =>
      scope(() => {
        const x = randn([4, 8], { generator: new Generator(2) });
        backward(checkpoint((a) => F.gelu(layer.forward(a)), x).sum());
      });
    step();
    const before = memory();
    for (let i = 0; i < 100; i++) step();
    expect(memory()).toEqual(before);
    layer.dispose();
  });
});
