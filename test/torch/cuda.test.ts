/** On a machine with a GPU: what lib/torch has for it alone, and its optimisers against the CPU's. */
import { matmul4bit, quantizeNf4 } from '../../lib/nf4';
import {
  CudaGraph,
  cudaDeviceName,
  cudaFreeMemory,
  cudaIsAvailable,
  cudaSynchronize,
  functional,
  Generator,
  getRngState,
  keep,
  nn,
  noGrad,
  ones,
  optim,
  scope,
  setRngState,
  tensor,
  TorchError,
  type Tensor,
} from '../../lib/torch';
import { gpu, onGpu } from '../gpu';
import { valuesTensor } from '../nf4/vectors';

if (!cudaIsAvailable()) {
  test('without a GPU, what is for it alone says so', () => {
    for (const call of [
      cudaSynchronize,
      cudaDeviceName,
      cudaFreeMemory,
      () => CudaGraph.capture(() => 1),
    ]) {
      expect(call).toThrow(TorchError);
    }
  });
}

onGpu('the device has a name', () => {
  cudaSynchronize();
  expect(cudaDeviceName()).toMatch(/\w/);
});

onGpu('a module goes there and back; dropout’s state is saved and comes again', () => {
  scope(() => {
    const layer = new nn.Linear(8, 8, { generator: new Generator(1) });
    const before = layer.weight.toArray();
    layer.to('cuda');
    expect([layer.weight.device, layer.bias!.device]).toEqual(['cuda:0', 'cuda:0']);
    expect([layer.weight.requiresGrad, layer.weight.isLeaf]).toEqual([true, true]);
    expect(layer.to('cpu').weight.toArray()).toEqual(before);
    layer.dispose();
    const draw = (): number[] => functional.dropout(gpu(ones([1000])), 0.5, true).toArray();
    const state = getRngState();
    const first = draw();
    expect(draw()).not.toEqual(first);
    setRngState(state);
    expect(draw()).toEqual(first);
  });
});

onGpu('free memory is told', () => {
  expect(cudaFreeMemory()).toBeGreaterThan(0);
  expect(cudaFreeMemory('cuda:0')).toBeGreaterThan(0);
});

describe.each(['float32', 'bfloat16', 'float16'] as const)('%s', (dtype) => {
  onGpu('8-bit AdamW: the same bytes as on the CPU', () => {
    const shape = [67, 99];
    const parameters = ['cpu', 'cuda'].map((device) =>
      keep(nn.parameter(valuesTensor(shape, dtype, 1).to(dtype, device))),
    );
    const optimizers = parameters.map(
      (weight) =>
        new optim.AdamW8bit([{ parameters: new Map([['weight', weight]]), weightDecay: 0.01 }]),
    );
    for (let step = 1; step <= 20; step++) {
      scope(() => {
        const gradient = valuesTensor(shape, dtype, step);
        parameters[0]!.grad = gradient;
        parameters[1]!.grad = gpu(gradient);
        for (const optimizer of optimizers) optimizer.step(1e-3);
      });
    }
    scope(() => {
      const bytes = (t: Tensor): Buffer => Buffer.from(t.detach().to(t.dtype, 'cpu').toBytes());
      expect(bytes(parameters[1]!).equals(bytes(parameters[0]!))).toBe(true);
      const [own, there] = optimizers.map((optimizer) => optimizer.stateDict());
      for (const [name, value] of own!) {
        expect([name, bytes(there!.get(name)!).equals(bytes(value))]).toEqual([name, true]);
      }
    });
    for (const optimizer of optimizers) optimizer.dispose();
  });
});

onGpu.each([
  ['AdamW', 'bfloat16', optim.AdamW],
  ['AdamW', 'float32', optim.AdamW],
  ['AdamW8bit', 'bfloat16', optim.AdamW8bit],
  ['AdamW8bit', 'float32', optim.AdamW8bit],
] as const)(
  '%s, %s: bfloat16 rounded stochastically has the bytes of the CPU',
  (_, dtype, Optimizer) => {
    const [own, there] = ['cpu', 'cuda'].map((device) => {
      const weight = keep(
        nn.parameter(valuesTensor([67, 99], 'bfloat16', 1).to('bfloat16', device)),
      );
      const groups = [{ parameters: new Map([['weight', weight]]), weightDecay: 0.01 }];
      const optimizer = new Optimizer(groups, { roundingSeed: 9 });
      for (let step = 1; step <= 20; step++) {
        scope(() => {
          weight.grad = valuesTensor([67, 99], dtype, step).to(dtype, device);
          optimizer.step(1e-3);
        });
      }
      const bytes = [weight, ...optimizer.stateDict().values()].map((t) =>
        Buffer.from(scope(() => t.detach().to(t.dtype, 'cpu').toBytes())),
      );
      optimizer.dispose();
      return bytes;
    });
    for (const [i, bytes] of own!.entries())
      expect([i, bytes.equals(there![i]!)]).toEqual([i, true]);
  },
);

onGpu('AdamW steps on the GPU as on the CPU', () => {
  const parameters = ['cpu', 'cuda'].map((device) =>
    keep(nn.parameter(valuesTensor([40, 50], 'float32', 1).to('float32', device))),
  );
  const optimizers = parameters.map(
    (weight) => new optim.AdamW([{ parameters: new Map([['weight', weight]]), weightDecay: 0.01 }]),
  );
  for (let step = 1; step <= 5; step++) {
    scope(() => {
      parameters[0]!.grad = valuesTensor([40, 50], 'float32', step);
      parameters[1]!.grad = gpu(parameters[0]!.grad);
      for (const optimizer of optimizers) optimizer.step(1e-2);
    });
  }
  scope(() => {
    const [own, there] = parameters.map((p) => p.detach().to('float32', 'cpu').toArray());
    own!.forEach((value, i) => expect(there![i]).toBeCloseTo(value, 5));
  });
  for (const optimizer of optimizers) optimizer.dispose();
});

onGpu.each([1, 8, 16, 200])(
  'a product of %d rows, captured and replayed with other values',
  (rows) => {
    scope(() =>
      noGrad(() => {
        const { packed, quantState } = quantizeNf4(gpu(valuesTensor([256, 512], 'bfloat16', 1)));
        const x = gpu(valuesTensor([rows, 512], 'bfloat16', 2));
        matmul4bit(x, packed, quantState);
        const graph = CudaGraph.capture(() => keep(matmul4bit(x, packed, quantState)));
        for (const seed of [3, 4]) {
          const values = gpu(valuesTensor([rows, 512], 'bfloat16', seed));
          x.copy_(values);
          graph.replay();
          expect(graph.result.equal(matmul4bit(values, packed, quantState))).toBe(true);
        }
        graph.result.dispose();
        graph.dispose();
        expect(() => graph.replay()).toThrow(TorchError);
      }),
    );
  },
);

onGpu('what cannot be captured is told, and work goes on after it', () => {
  scope(() => {
    const x = gpu(ones([4]));
    expect(() => CudaGraph.capture(() => x.sum().item())).toThrow();
    expect(
      gpu(tensor([1, 2]))
        .sum()
        .item(),
    ).toBe(3);
  });
});
