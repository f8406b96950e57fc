import {
  backward,
  functional,
  Generator,
  keep,
  nn,
  optim,
  randn,
  scope,
  type Tensor,
} from '../../lib/torch';
import { decode, expectClose, vectors } from './vectors';

const { start, steps, maxNorm } = vectors.adamw;

function make(): { weight: Tensor; bias: Tensor; optimizer: optim.AdamW } {
  const weight = nn.parameter(decode(start.weight));
  const bias = nn.parameter(decode(start.bias));
  const optimizer = new optim.AdamW(
    [
      { parameters: new Map([['weight', weight]]), weightDecay: 0.1 },
      { parameters: new Map([['bias', bias]]), weightDecay: 0 },
    ],
    { betas: [0.8, 0.95], eps: 1e-6 },
  );
  return { weight, bias, optimizer };
}

function step(weight: Tensor, bias: Tensor, optimizer: optim.AdamW, lr: number): number[] {
  return scope(() => {
    optimizer.zeroGrad();
    const y = functional.linear(decode(start.x), weight, bias);
    const loss = y.sub(decode(start.target)).square().sum();
    backward(loss);
    const norm = optim.clipGradNorm(optimizer.parameters, maxNorm);
    optimizer.step(lr);
    return [loss.item(), norm];
  });
}

test('five steps of AdamW with clipping equal PyTorch', () => {
  // The vectors have both: steps that are clipped and steps that are not.
  expect(new Set(steps.map((s) => s.norm > maxNorm)).size).toBe(2);
  const { weight, bias, optimizer } = make();
  for (const expected of steps) {
    const [loss, norm] = step(weight, bias, optimizer, expected.lr);
    expectClose([loss!, norm!], [expected.loss, expected.norm], 2e-6);
    expectClose(weight.toArray(), expected.weight, 2e-6);
    expectClose(bias.toArray(), expected.bias, 2e-6);
  }
});

test('saved after two steps and loaded elsewhere, the rest is the same to the bit', () => {
  const a = make();
  for (const { lr } of steps.slice(0, 2)) step(a.weight, a.bias, a.optimizer, lr);
  const saved = new Map(
    Array.from(a.optimizer.stateDict(), ([name, value]) => [name, keep(value.clone())]),
  );
  expect([...saved.keys()]).toEqual([
    'weight.exp_avg', 'weight.exp_avg_sq', 'weight.step',
    'bias.exp_avg', 'bias.exp_avg_sq', 'bias.step',
  ]); // prettier-ignore
  expect(saved.get('bias.step')!.item()).toBe(2);
  const b = make();
  scope(() => {
    b.weight.detach().copy_(a.weight.detach());
    b.bias.detach().copy_(a.bias.detach());
  });
  b.optimizer.loadStateDict(saved);
  for (const { lr } of steps.slice(2)) {
    expect(step(b.weight, b.bias, b.optimizer, lr)).toEqual(
      step(a.weight, a.bias, a.optimizer, lr),
    );
  }
  expect(b.weight.equal(a.weight)).toBe(true);
  saved.delete('bias.step');
  expect(() => b.optimizer.loadStateDict(saved)).toThrow(optim.OptimizerError);
  expect(() => b.optimizer.loadStateDict(saved)).toThrow('bias.step is missing');
});

test('parameters without a gradient stay, and their step count, too', () => {
  scope(() => {
    const used = nn.parameter(randn([2], { generator: new Generator(1) }));
    const unused = nn.parameter(randn([2], { generator: new Generator(2) }));
    const before = unused.toArray();
    const parameters = new Map([['used', used], ['unused', unused]]); // prettier-ignore
    const optimizer = new optim.AdamW([{ parameters, weightDecay: 0.5 }]);
    backward(used.square().sum());
    optimizer.step(0.1);
    expect(unused.toArray()).toEqual(before);
    expect(optimizer.stateDict().get('unused.step')!.item()).toBe(0);
    expect(optimizer.stateDict().get('used.step')!.item()).toBe(1);
    optimizer.dispose();
    used.dispose();
    unused.dispose();
  });
});

test('clipping scales to the norm and gives the norm before', () => {
  scope(() => {
    const a = nn.parameter(randn([3], { generator: new Generator(1) }));
    const b = nn.parameter(randn([2, 2], { generator: new Generator(2) }));
    const norm = (): number => Math.hypot(...a.grad!.toArray(), ...b.grad!.toArray());
    expect(optim.clipGradNorm([a, b], 1)).toBe(0);
    backward(a.square().sum().add(b.square().sum()));
    const before = norm();
    expectClose([optim.clipGradNorm([a, b], 0.5)], [before], 1e-6);
    expectClose([norm()], [0.5], 1e-5);
    expectClose([optim.clipGradNorm([a, b], 10)], [0.5], 1e-5);
    expectClose([norm()], [0.5], 1e-5);
    a.dispose();
    b.dispose();
  });
});
