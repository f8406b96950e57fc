import {
  dequantizeNf4,
  Linear4bit,
  matmul4bit,
  quantizeNf4,
  QuantStateError,
  type FloatDType,
} from '../../lib/nf4';
import {
  autocast,
  backward,
  functional as F,
  Generator,
  memory,
  nn,
  noGrad,
  numThreads,
  ones,
  randn,
  scope,
  setNumThreads,
  type Tensor,
} from '../../lib/torch';
import { float32, relativeError, sha256, valuesTensor, vectors } from './vectors';

// float32 differs by the order of sums; the halves by one rounding of the result, and where the
// reference also rounds the decoded weight.
const tolerances: Record<FloatDType, number> = { float32: 1e-6, float16: 2e-3, bfloat16: 1.6e-2 };

describe('the product is that of bitsandbytes', () => {
  test.each(
    vectors.linear.map((v) => [`${v.dtype}, batch ${v.batch}, [${v.shape.join()}]`, v] as const),
  )('%s', (_, v) => {
    scope(() => {
      const [outFeatures, inFeatures] = v.shape;
      const { packed, quantState } = quantizeNf4(valuesTensor(v.shape, v.dtype, 11, 64));
      const x = valuesTensor([v.batch, inFeatures], v.dtype, 12);
      x.requiresGrad = true;
      const bias = v.biasGrad === null ? undefined : valuesTensor([outFeatures], v.dtype, 13);
      if (bias !== undefined) bias.requiresGrad = true;
      const y = matmul4bit(x, packed, quantState, bias);
      expect(y.dtype).toBe(v.dtype);
      expect(relativeError(y, float32(v.y))).toBeLessThan(tolerances[v.dtype]);
      backward(y, valuesTensor(y.shape, v.dtype, 14));
      expect(x.grad!.dtype).toBe(v.dtype);
      expect(relativeError(x.grad!, float32(v.xGrad))).toBeLessThan(tolerances[v.dtype]);
      if (v.biasGrad !== null) {
        expect(relativeError(bias!.grad!, float32(v.biasGrad))).toBeLessThan(tolerances[v.dtype]);
      }
    });
  });
});

test('under autocast a 4-bit layer computes in bfloat16, as a plain one does', () => {
  scope(() => {
    const generator = new Generator(7);
    const linear = new nn.Linear(128, 64, { bias: true, generator });
    using packed = Linear4bit.fromLinear(linear);
    const x = randn([20, 128], { generator });
    x.requiresGrad = true;
    const y = autocast(() => packed.forward(x));
    expect(y.dtype).toBe('bfloat16');
    expect(y.dtype).toBe(autocast(() => linear.forward(x)).dtype);
    const own = x.detach().to('bfloat16');
    own.requiresGrad = true;
    const same = packed.forward(own);
    expect(y.toArray()).toEqual(same.toArray());
    backward(y.to('float32').sum());
    backward(same.to('float32').sum());
    expect(x.grad!.dtype).toBe('float32');
    expect(x.grad!.toArray()).toEqual(own.grad!.to('float32').toArray());
    // Outside of it, and for a dtype that is asked for, nothing changes.
    expect(packed.forward(x).dtype).toBe('float32');
  });
});

describe('against the dense product of the decoded weight', () => {
  const shapes: [outFeatures: number, inFeatures: number][] = [
    [5, 7], // a single ragged block
    [48, 64],
    [33, 129], // blocks and bytes that begin within rows
    [1100, 1000], // more than one tile
  ];
  const cases = shapes.flatMap((shape) =>
    [1, 4, 8, 9, 33].flatMap((batch) =>
      ([64, 256] as const).map((blockSize) => ({ shape, batch, blockSize })),
    ),
  );

  test.each(cases)('[$shape] at batch $batch, blocks of $blockSize', (c) => {
    scope(() => {
      const generator = new Generator(5);
      const { packed, quantState } = quantizeNf4(randn(c.shape, { generator }), c);
      const dense = dequantizeNf4(packed, quantState);
      const x = randn([c.batch, c.shape[1]], { generator });
      const xDense = x.clone();
      for (const leaf of [x, xDense]) leaf.requiresGrad = true;
      const bias = randn([c.shape[0]], { generator });
      const gradient = randn([c.batch, c.shape[0]], { generator });
      const y = matmul4bit(x, packed, quantState, bias);
      const expected = F.linear(xDense, dense, bias);
      expect(relativeError(y, expected.toArray())).toBeLessThan(3e-6);
      backward(y, gradient);
      backward(expected, gradient);
      expect(relativeError(x.grad!, xDense.grad!.toArray())).toBeLessThan(3e-6);
      // Without autograd the same path is taken.
      const inference = noGrad(() => matmul4bit(x, packed, quantState, bias));
      expect(inference.requiresGrad).toBe(false);
      expect(sha256(inference)).toBe(sha256(y.detach()));
    });
  });

  // Three tiles: for each thread its own, or shared where the threads are more.
  test.each([1, 2, 3, 4])('[1100, 1000] by %d threads', (threads) => {
    const before = numThreads();
    setNumThreads(threads);
    try {
      scope(() => {
        const generator = new Generator(6);
        const { packed, quantState } = quantizeNf4(randn([1100, 1000], { generator }));
        const dense = dequantizeNf4(packed, quantState);
        const x = randn([33, 1000], { generator });
        x.requiresGrad = true;
        const gradient = randn([33, 1100], { generator });
        const y = matmul4bit(x, packed, quantState);
        expect(relativeError(y, F.linear(x.detach(), dense).toArray())).toBeLessThan(3e-6);
        backward(y, gradient);
        expect(relativeError(x.grad!, gradient.matmul(dense).toArray())).toBeLessThan(3e-6);
      });
    } finally {
      setNumThreads(before);
    }
  });

  // In bfloat16, where the processor multiplies that: columns beyond the last whole strip, rows whose
  // blocks end within others, and more rows than are put in order at a time.
  test.each([
    { shape: [130, 1280], batch: 21, blockSize: 64 },
    { shape: [77, 640], batch: 40, blockSize: 512 },
    { shape: [65, 192], batch: 30, blockSize: 128 },
    { shape: [200, 8192], batch: 431, blockSize: 64 },
  ] as const)('in bfloat16, $shape at batch $batch, blocks of $blockSize', (c) => {
    scope(() => {
      const generator = new Generator(7);
      const { packed, quantState } = quantizeNf4(randn([...c.shape], { generator }), c);
      const dense = dequantizeNf4(packed, quantState);
      const x = randn([c.batch, c.shape[1]], { generator }).to('bfloat16');
      const gradient = randn([c.batch, c.shape[0]], { generator }).to('bfloat16');
      const bias = randn([c.shape[0]], { generator });
      const leaf = x.detach();
      leaf.requiresGrad = true;
      const y = matmul4bit(leaf, packed, quantState, bias.to('bfloat16'));
      const expected = F.linear(x.to('float32'), dense, bias.to('bfloat16').to('float32'));
      // Weights and results are rounded to 8 bits.
      expect(relativeError(y, expected.toArray())).toBeLessThan(8e-3);
      backward(y, gradient);
      const wanted = gradient.to('float32').matmul(dense);
      expect(relativeError(leaf.grad!, wanted.toArray())).toBeLessThan(8e-3);
    });
  });

  test('any number of leading dimensions, and a transposed input', () => {
    scope(() => {
      const { packed, quantState } = quantizeNf4(valuesTensor([24, 64], 'float32', 1));
      const dense = dequantizeNf4(packed, quantState);
      const x = valuesTensor([64, 3, 5], 'float32', 2).permute([1, 2, 0]);
      const y = matmul4bit(x, packed, quantState);
      expect(y.shape).toEqual([3, 5, 24]);
      expect(relativeError(y, F.linear(x, dense).toArray())).toBeLessThan(3e-6);
      const vector = x.select(0, 1).select(0, 2);
      expect(matmul4bit(vector, packed, quantState).shape).toEqual([24]);
      const none = x.narrow(0, 0, 0);
      expect(matmul4bit(none, packed, quantState).shape).toEqual([0, 5, 24]);
    });
  });
});

describe('Linear4bit', () => {
  function layer(dtype: FloatDType = 'float32'): nn.Linear {
    return new nn.Linear(96, 40, { dtype, generator: new Generator(3) });
  }

  test('from a linear layer, as close as the quantised weight', () => {
    scope(() => {
      const linear = layer();
      const quantized = Linear4bit.fromLinear(linear);
      expect([quantized.outFeatures, quantized.inFeatures]).toEqual([40, 96]);
      expect(quantized.parameters()).toEqual([]);
      const x = valuesTensor([20, 96], 'float32', 6);
      const dense = dequantizeNf4(quantized.weight, quantized.quantState);
      const expected = F.linear(x, dense, linear.bias);
      expect(relativeError(quantized.forward(x), expected.toArray())).toBeLessThan(3e-6);
      linear.dispose();
      quantized.forward(x); // does not depend on the layer it came from
      quantized.dispose();
    });
  });

  test('is moved when it is loaded, not afterwards', () => {
    using quantized = Linear4bit.fromLinear(layer());
    expect(quantized.to('cpu')).toBe(quantized);
    expect(() => quantized.to('cuda')).toThrow(
      "a 4-bit layer stays on cpu; load the model where it is used: loadModel(dir, { device: 'cuda' })",
    );
  });

  test('computes in computeDtype and answers in the dtype of its input', () => {
    scope(() => {
      const quantized = Linear4bit.fromLinear(layer(), { computeDtype: 'bfloat16' });
      const x = valuesTensor([20, 96], 'float32', 6);
      x.requiresGrad = true;
      const y = quantized.forward(x);
      expect(y.dtype).toBe('float32');
      const half = quantized.forward(x.detach().to('bfloat16'));
      expect(half.dtype).toBe('bfloat16');
      expect(y.detach().toArray()).toEqual(half.toArray());
      backward(y.sum());
      expect(x.grad!.dtype).toBe('float32');
      quantized.dispose();
    });
  });

  test('replaces the linear layers of a network, whose loss still falls by its other parts', () => {
    class Net extends nn.Module {
      first: nn.Linear | Linear4bit = layer();
      norm: nn.LayerNorm = new nn.LayerNorm(40);
      last: nn.Linear | Linear4bit = new nn.Linear(40, 8, { generator: new Generator(4) });
      forward(x: Tensor): Tensor {
        return this.last.forward(this.norm.forward(this.first.forward(x)));
      }
    }
    const net = new Net();
    nn.replaceModules(net, (_, m) =>
      m instanceof nn.Linear ? Linear4bit.fromLinear(m) : undefined,
    );
    expect(Array.from(net.namedParameters(), ([name]) => name)).toEqual([
      'norm.weight',
      'norm.bias',
    ]);
    const losses = [0, 1, 2, 3].map(() =>
      scope(() => {
        const loss = net
          .forward(valuesTensor([32, 96], 'float32', 1))
          .sub(ones([8]))
          .square()
          .mean();
        backward(loss);
        noGrad(() => {
          for (const p of net.parameters()) p.add_(p.grad!, -0.5);
        });
        for (const p of net.parameters()) p.grad = undefined;
        return loss.item();
      }),
    );
    expect([...losses].sort((a, b) => b - a)).toEqual(losses);
    expect(losses[3]!).toBeLessThan(losses[0]! * 0.9);
    net.dispose();
  });

  test('a step leaves no tensor behind', () => {
    const quantized = Linear4bit.fromLinear(layer());
    const step = (): void =>
      scope(() => {
        const x = valuesTensor([20, 96], 'float32', 6);
        x.requiresGrad = true;
        backward(quantized.forward(x).sum());
        void x.grad;
      });
    step();
    const before = memory();
    step();
    expect(memory()).toEqual(before);
    quantized.dispose();
  });
});

describe('bad input', () => {
  test('an input that does not fit the weight', () => {
    scope(() => {
      const { packed, quantState } = quantizeNf4(valuesTensor([8, 16], 'float32', 1));
      expect(() => matmul4bit(ones([2, 8]), packed, quantState)).toThrow(/16 columns/);
      expect(() => matmul4bit(ones([2, 16], { dtype: 'int64' }), packed, quantState)).toThrow(
        /float32, bfloat16 and float16/,
      );
      const x = ones([2, 16]);
      expect(() => matmul4bit(x, packed, quantState, ones([9]))).toThrow(/bias/);
    });
  });

  test('a weight that is no matrix', () => {
    scope(() => {
      const { packed, quantState } = quantizeNf4(valuesTensor([2, 4, 8], 'float32', 1));
      expect(() => matmul4bit(ones([1, 8]), packed, quantState)).toThrow(QuantStateError);
      expect(() => new Linear4bit(packed, quantState)).toThrow(/\[2, 4, 8\]/);
    });
  });
});
