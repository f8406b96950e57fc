import {
  attachLora,
  baseStateDict,
  detachLora,
  LoraError,
  LoraLinear,
  loraScale,
  LoraUpdate,
  mergeLora,
  type LoraConfig,
  type LoraUpdateOptions,
} from '../../lib/lora';
import { backward, Generator, manualSeed, memory, nn, noGrad, randn } from '../../lib/torch';
import { scope, type Tensor } from '../../lib/torch';
import { difference, Network, PackedLinear } from './network';

const config: LoraConfig = { r: 3, loraAlpha: 5, useRslora: true };
const generator = (): Generator => new Generator(7);

function perturb(tensors: Iterable<Tensor>): void {
  const source = new Generator(11);
  noGrad(() => {
    for (const value of tensors)
      scope(() => value.copy_(randn(value.shape, { generator: source })));
  });
}

/** A layer with one adapter that is in use, and that adapter's part of it. */
function adapted(
  base: nn.Linear,
  options: LoraUpdateOptions,
): { layer: LoraLinear; update: LoraUpdate } {
  const layer = new LoraLinear(base, { inUse: ['own'] });
  const update = new LoraUpdate(base, options);
  layer.updates.set('own', update);
  return { layer, update };
}

test('the scale, plain and rank-stabilised', () => {
  expect(loraScale({ r: 64, loraAlpha: 128 })).toBe(2);
  expect(loraScale({ r: 64, loraAlpha: 128, useRslora: true })).toBe(16);
});

describe('a LoRA layer', () => {
  test('starts as its base, with a seeded A in the bounds of Kaiming', () => {
    const base = new nn.Linear(6, 10, { generator: generator() });
    const make = (): LoraUpdate => adapted(base, { r: 3, scale: 2, generator: generator() }).update;
    const { layer, update } = adapted(base, { r: 3, scale: 2, generator: generator() });
    const x = randn([4, 6]);
    expect(layer.forward(x).equal(base.forward(x))).toBe(true);
    expect(update.loraA.equal(make().loraA)).toBe(true);
    expect(update.loraA.shape).toEqual([3, 6]);
    expect(update.loraB.shape).toEqual([10, 3]);
    const largest = update.loraA.abs().amax().item();
    expect(largest).toBeLessThanOrEqual(1 / Math.sqrt(6));
    expect(largest).toBeGreaterThan(0.5 / Math.sqrt(6));
  });

  test('computes in the dtype asked for and answers in that of the base', () => {
    const base = new nn.Linear(6, 10, { generator: generator(), dtype: 'bfloat16' });
    const x = randn([4, 6]).to('bfloat16');
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const { layer, update } = adapted(base, { r: 3, scale: 2, dtype, generator: generator() });
      expect([update.loraA.dtype, update.loraB.dtype]).toEqual([dtype, dtype]);
      expect(layer.forward(x).dtype).toBe('bfloat16');
    }
  });

  test('drops inputs of the update in training only', () => {
    const base = new nn.Linear(6, 10, { generator: generator() });
    const options = { r: 3, scale: 2, generator: generator() };
    const { layer, update } = adapted(base, { ...options, dropout: 0.5 });
    perturb([update.loraB]);
    const plain = adapted(base, { ...options, generator: generator() });
    noGrad(() => plain.update.loraB.copy_(update.loraB));
    const x = randn([4, 6]);
    const whole = plain.layer.forward(x);
    layer.eval();
    expect(layer.forward(x).equal(whole)).toBe(true);
    layer.train();
    manualSeed(3);
    const first = layer.forward(x);
    expect(first.equal(whole)).toBe(false);
    manualSeed(3);
    expect(layer.forward(x).equal(first)).toBe(true);
  });

  test('takes the mode of its base', () => {
    const network = new Network({ generator: generator() }).eval();
    attachLora(network, config, { generator: generator() });
    const layers = [network.qProj, network.oProj] as nn.Module[] as LoraLinear[];
    for (const layer of layers) expect(layer.training).toBe(false);
    network.train();
    for (const layer of layers) expect(layer.base.training).toBe(true);
  });

  test('leaves no handle behind in a step', () => {
    const { layer } = adapted(new nn.Linear(6, 10, { generator: generator() }), {
      r: 3,
      scale: 2,
      dropout: 0.1,
      generator: generator(),
    });
    const step = (): void => scope(() => backward(layer.forward(randn([4, 6])).sum()));
    step();
    const before = memory();
    for (let i = 0; i < 5; i++) step();
    expect(memory()).toEqual(before);
  });
});

describe('an adapter', () => {
  test('freezes all but A and B, and gives back what was trainable', () => {
    const network = new Network({ generator: generator() });
    network.lmHead.requiresGrad(false);
    const trainable = [...network.namedParameters()].map(([name]) => name);
    const adapter = attachLora(network, config, { generator: generator() });
    const names = [...network.namedParameters()].map(([name]) => name);
    expect(names).toEqual([
      'q_proj.lora_A.default.weight',
      'q_proj.lora_B.default.weight',
      'o_proj.lora_A.default.weight',
      'o_proj.lora_B.default.weight',
    ]);
    expect([...adapter.parameters().keys()]).toEqual(names);
    perturb(adapter.parameters().values());
    backward(
      network
        .forward(randn([4, 6]))
        .square()
        .sum(),
    );
    for (const value of adapter.parameters().values()) {
      expect(value.grad!.abs().amax().item()).toBeGreaterThan(0);
    }
    for (const value of baseStateDict(network).values()) expect(value.grad).toBeUndefined();
    detachLora(adapter);
    expect([...network.namedParameters()].map(([name]) => name)).toEqual(trainable);
  });

  test('leaves the names of the base as they were', () => {
    const network = new Network({ generator: generator() });
    const plain = network.stateDict();
    attachLora(network, config, { generator: generator() });
    const base = baseStateDict(network);
    expect([...base.keys()]).toEqual([...plain.keys()]);
    for (const [name, value] of base) expect(value).toBe(plain.get(name));
    expect([...network.stateDict().keys()].sort()).toEqual(
      [
        ...plain.keys(),
        ...['q_proj', 'o_proj'].flatMap((n) => [
          `${n}.lora_A.default.weight`,
          `${n}.lora_B.default.weight`,
        ]),
      ].sort(),
    );
    const other = new Network({ generator: new Generator(8) });
    attachLora(other, config, { generator: new Generator(9) });
    other.loadStateDict(network.stateDict());
    const x = randn([2, 6]);
    expect(other.forward(x).equal(network.forward(x))).toBe(true);
  });

  test('detached, leaves the model as it was', () => {
    const network = new Network({ generator: generator() });
    const x = randn([4, 6]);
    const before = network.forward(x);
    const base = network.qProj;
    const adapter = attachLora(network, config, { generator: generator() });
    perturb(adapter.parameters().values());
    expect(network.forward(x).equal(before)).toBe(false);
    detachLora(adapter);
    expect(network.qProj).toBe(base);
    expect(network.forward(x).equal(before)).toBe(true);
    expect(adapter.parameters().size).toBe(4);
    adapter.dispose();
    expect(network.forward(x).equal(before)).toBe(true);
  });

  test('merged, gives plain layers and the same result', () => {
    const network = new Network({ generator: generator() });
    const x = randn([4, 6]);
    const adapter = attachLora(network, config, { generator: generator() });
    perturb(adapter.parameters().values());
    const before = network.forward(x);
    mergeLora(adapter);
    expect(network.qProj).toBeInstanceOf(nn.Linear);
    expect(network.oProj).toBeInstanceOf(nn.Linear);
    expect(difference(network.forward(x), before)).toBeLessThan(1e-5);
  });

  test('works on a packed base, and is not merged into it', () => {
    class Packed extends nn.Module {
      proj = new PackedLinear();
      plain = new nn.Linear(4, 3, { generator: generator() });
    }
    const model = new Packed();
    const adapter = attachLora(model, config, { generator: generator() });
    expect([...adapter.layers.keys()]).toEqual(['proj', 'plain']);
    perturb(adapter.parameters().values());
    const { loraA, loraB } = adapter.layers.get('proj')!;
    const x = randn([5, 6]);
    const update = x.matmul(loraA.transpose(0, 1)).matmul(loraB.transpose(0, 1));
    const expected = x.narrow(-1, 0, 4).add(update.mul(loraScale(config)));
    expect(difference(model.proj.forward(x), expected)).toBeLessThan(1e-5);
    const before = baseStateDict(model).get('plain.weight')!.clone();
    expect(() => mergeLora(adapter)).toThrow(/cannot merge the adapter into proj, .*quantised/);
    expect(() => mergeLora(adapter)).toThrow(LoraError);
    expect(model.plain).toBeInstanceOf(LoraLinear);
    expect(baseStateDict(model).get('plain.weight')!.equal(before)).toBe(true);
    expect(baseStateDict(model).get('proj.weight')!.dtype).toBe('uint8');
  });
});

describe('targets', () => {
  const attach = (targetModules: string | string[]): string[] => {
    const network = new Network({ generator: generator() });
    const options = { generator: generator() };
    return [...attachLora(network, { ...config, targetModules }, options).layers.keys()];
  };

  test('lists and patterns', () => {
    expect(attach('all-linear')).toEqual(['q_proj', 'o_proj']);
    expect(attach(['o_proj'])).toEqual(['o_proj']);
    expect(attach(['lm_head'])).toEqual(['lm_head']);
    expect(attach('[qo]_proj')).toEqual(['q_proj', 'o_proj']);
  });

  test.each([
    [['qproj'], /no linear layer matches .*qproj.*near names: q_proj/],
    [
      ['q_proj', 'v_proj'],
      /no linear layer matches targetModules \["v_proj"\]; near names: .*o_proj/,
    ],
    ['.*k_proj', /no linear layer matches targetModules "\.\*k_proj"; near names: .*q_proj/],
    ['proj', /no linear layer matches/],
    ['(q_proj', /is no regular expression/],
    [[], /no linear layer matches targetModules \[\]; full names are such as q_proj/],
  ])('%j is an error', (targetModules, message) => {
    expect(() => attach(targetModules)).toThrow(message);
    expect(() => attach(targetModules)).toThrow(LoraError);
  });

  test('a target that is not linear', () => {
    class Deep extends nn.Module {
      block: Network = new Network({ generator: generator() });
    }
    const model = new Deep();
    const options = { generator: generator() };
    expect(() => attachLora(model, { ...config, targetModules: 'block.*' }, options)).toThrow(
      'target block is no linear layer but a Network',
    );
    expect(model.block.qProj.weight.requiresGrad).toBe(true);
  });

  test('a second adapter', () => {
    const network = new Network({ generator: generator() });
    attachLora(network, { ...config, targetModules: ['q_proj'] }, { generator: generator() });
    expect(() => attachLora(network, config, { generator: generator() })).toThrow(
      "the model has an adapter 'default' already; give this one another name",
    );
  });

  test.each([
    [{ r: 0 }, 'r must be a whole number of at least 1, not 0'],
    [{ r: 1.5 }, 'r must be a whole number of at least 1, not 1.5'],
    [{ loraAlpha: 0 }, 'loraAlpha must be a positive number, not 0'],
    [{ loraDropout: 1 }, 'loraDropout must be at least 0 and below 1, not 1'],
  ])('impossible values: %j', (wrong, message) => {
    const network = new Network({ generator: generator() });
    expect(() => attachLora(network, { ...config, ...wrong }, { generator: generator() })).toThrow(
      message,
    );
    expect(network.qProj).not.toBeInstanceOf(LoraLinear);
  });
});
