/** Against 200 steps of bitsandbytes' AdamW8bit (test/oracle/adamw_8bit.py). */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  backward,
  keep,
  nn,
  ones,
  optim,
  scope,
  tensor,
  TorchError,
  type DType,
  type Tensor,
} from '../../lib/torch';
import { expectClose } from './vectors';

interface Expected {
  shape: number[];
  dtype: DType;
  values: Record<string, number[]>;
  state1?: string;
  state2?: string;
  absmax1?: number[];
  absmax2?: number[];
}

const { settings, nearest, compiled } = JSON.parse(
  readFileSync(join(__dirname, '../oracle/vectors/adamw-8bit.json'), 'utf8'),
) as {
  settings: { lr: number; betas: [number, number]; eps: number; weight_decay: number };
  nearest: Record<string, Expected>;
  compiled: Record<string, number[]>;
};
const steps = 200;

const count = (shape: number[]): number => shape.reduce((a, b) => a * b, 1);

function start({ shape, dtype }: Expected): Tensor {
  const values = Array.from(
    { length: count(shape) },
    (_, i) => (((i * 37 + i * i * 11) % 513) - 256) / 256,
  );
  return nn.parameter(tensor(values, { shape }).to(dtype));
}

/** The script's formula. */
function gradient({ shape, dtype }: Expected, step: number): Tensor {
  const values = Array.from({ length: count(shape) }, (_, i) => {
    const value = ((i * i * 31 + i * 7 + step * step * 13 + i * step * 5) % 509) - 254;
    return i % 17 === 0 ? 0 : value * 2 ** (-8 - (Math.floor(i / 256) % 12));
  });
  return tensor(values, { shape }).to(dtype);
}

type Parameters = Record<string, Tensor>;

function make(): { parameters: Parameters; optimizer: optim.AdamW8bit } {
  const parameters = Object.fromEntries(
    Object.entries(nearest).map(([name, expected]) => [name, start(expected)]),
  );
  const group = {
    parameters: new Map(Object.entries(parameters)),
    weightDecay: settings.weight_decay,
  };
  return { parameters, optimizer: new optim.AdamW8bit([group], settings) };
}

function run(
  parameters: Parameters,
  optimizer: optim.AdamW8bit,
  from: number,
  to: number,
  after?: (step: number) => void,
): void {
  for (let step = from; step <= to; step++) {
    scope(() => {
      for (const [name, parameter] of Object.entries(parameters)) {
        parameter.grad = gradient(nearest[name]!, step);
      }
      optimizer.step(settings.lr);
      after?.(step);
    });
  }
}

const sampled = (parameter: Tensor): number[] => parameter.toArray().filter((_, i) => i % 13 === 0);
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

test('200 steps end with the codes of bitsandbytes, byte for byte, and with its parameters', () => {
  const { parameters, optimizer } = make();
  run(parameters, optimizer, 1, steps, (step) => {
    for (const [name, parameter] of Object.entries(parameters)) {
      const expected = nearest[name]!.values[step];
      if (expected === undefined) continue;
      // The last bit of a bfloat16 between 1 and 2 is 2^-7.
      expectClose(
        sampled(parameter),
        expected,
        nearest[name]!.dtype === 'bfloat16' ? 2 ** -7 : 1e-6,
      );
    }
  });
  const state = optimizer.stateDict();
  for (const [name, expected] of Object.entries(nearest)) {
    if (expected.state1 === undefined) {
      expect([...state.keys()]).toContain(`${name}.exp_avg`);
      continue;
    }
    for (const part of ['state1', 'state2'] as const) {
      expect(sha256(state.get(`${name}.${part}`)!.toBytes())).toBe(expected[part]);
    }
    for (const part of ['absmax1', 'absmax2'] as const) {
      expect(state.get(`${name}.${part}`)!.toArray()).toEqual(expected[part]);
    }
    expect(state.get(`${name}.step`)!.item()).toBe(steps);
  }
  // A weight whose gradient is always 0 is decayed and nothing else; the compiled code moves it.
  const decayed = -1 * (1 - settings.lr * settings.weight_decay) ** steps;
  expect(parameters.matrix!.toArray()[0]).toBeCloseTo(decayed, 4);
  expect(compiled.matrix![0]).toBeLessThan(decayed - 0.001);
  expectClose(sampled(parameters.matrix!), compiled.matrix!, 0.002);
  optimizer.dispose();
});

test('saved after 60 steps and loaded elsewhere, the rest is the same to the bit', () => {
  const a = make();
  run(a.parameters, a.optimizer, 1, 60);
  const saved = new Map(
    Array.from(a.optimizer.stateDict(), ([name, value]) => [name, keep(value.clone())]),
  );
  const b = make();
  scope(() => {
    for (const [name, parameter] of Object.entries(b.parameters)) {
      parameter.detach().copy_(a.parameters[name]!.detach());
    }
  });
  b.optimizer.loadStateDict(saved);
  run(a.parameters, a.optimizer, 61, 80);
  run(b.parameters, b.optimizer, 61, 80);
  for (const [name, parameter] of Object.entries(b.parameters)) {
    expect(parameter.equal(a.parameters[name]!)).toBe(true);
  }
  for (const [name, value] of b.optimizer.stateDict()) {
    expect([name, value.equal(a.optimizer.stateDict().get(name)!)]).toEqual([name, true]);
  }
  saved.delete('matrix.absmax2');
  expect(() => b.optimizer.loadStateDict(saved)).toThrow(optim.OptimizerError);
  expect(() => b.optimizer.loadStateDict(saved)).toThrow('matrix.absmax2 is missing');
});

test('its state is a quarter of AdamW’s, and its parameters are all of them', () => {
  const { parameters, optimizer } = make();
  const large = Array.from(optimizer.stateDict()).filter(([name]) => name.startsWith('matrix'));
  const bytes = large.reduce((sum, [, value]) => sum + value.toBytes().length, 0);
  expect(bytes / (8 * parameters.matrix!.numel)).toBeLessThan(0.26);
  expect(optimizer.parameters.map((p) => p.id)).toEqual(Object.values(parameters).map((p) => p.id));
  optimizer.zeroGrad();
  optimizer.dispose();
});

test('parameters without a gradient stay, and their step count, too', () => {
  const { parameters, optimizer } = make();
  const before = parameters.half!.toArray();
  scope(() => {
    parameters.matrix!.grad = gradient(nearest.matrix!, 1);
    optimizer.step(settings.lr);
  });
  expect(parameters.half!.toArray()).toEqual(before);
  expect(optimizer.stateDict().get('half.step')!.item()).toBe(0);
  expect(optimizer.stateDict().get('matrix.step')!.item()).toBe(1);
});

test('a small parameter in half precision has moments in 8 bits, not in its own', () => {
  const weight = nn.parameter(ones([8], { dtype: 'bfloat16' }));
  const parameters = new Map([['weight', weight]]);
  const optimizer = new optim.AdamW8bit([{ parameters, weightDecay: 0 }]);
  expect(optimizer.stateDict().get('weight.state1')!.dtype).toBe('uint8');
  scope(() => {
    weight.grad = ones([8], { dtype: 'bfloat16' });
    optimizer.step(0.5);
  });
  expect(weight.toArray()).toEqual(new Array(8).fill(0.5));
  optimizer.dispose();
});

test('what cannot be updated is told before anything changes', () => {
  const good = nn.parameter(ones([64, 64]));
  const transposed = nn.parameter(ones([64, 128]).transpose(0, 1));
  const parameters = new Map([['good', good], ['transposed', transposed]]); // prettier-ignore
  const optimizer = new optim.AdamW8bit([{ parameters, weightDecay: 0 }]);
  scope(() => {
    good.grad = ones([64, 64]);
    transposed.grad = ones([128, 64]);
    expect(() => optimizer.step(0.1)).toThrow(TorchError);
    expect(() => optimizer.step(0.1)).toThrow(/needs contiguous parameters, got \[128, 64\]/);
    expect(good.equal(ones([64, 64]))).toBe(true);
  });
  expect(optimizer.stateDict().get('good.step')!.item()).toBe(0);
  optimizer.dispose();
});

test('autograd sees that a parameter it saved was changed', () => {
  const weight = nn.parameter(ones([64, 64]));
  const optimizer = new optim.AdamW8bit([
    { parameters: new Map([['weight', weight]]), weightDecay: 0 },
  ]);
  scope(() => {
    const loss = weight.square().sum();
    weight.grad = ones([64, 64]);
    optimizer.step(0.1);
    expect(() => backward(loss)).toThrow(/modified by an inplace operation/);
  });
  optimizer.dispose();
});
