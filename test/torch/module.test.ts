import {
  arange,
  backward,
  functional,
  Generator,
  keep,
  nn,
  noGrad,
  scope,
  tensor,
  type Tensor,
} from '../../lib/torch';

class Attention extends nn.Module {
  qProj: nn.Linear;
  outProj: nn.Linear;
  constructor(size: number, generator?: Generator) {
    super();
    this.qProj = new nn.Linear(size, size, { generator, bias: false });
    this.outProj = new nn.Linear(size, size, { generator });
  }
  forward(x: Tensor): Tensor {
    return this.outProj.forward(this.qProj.forward(x));
  }
}

class Model extends nn.Module {
  embedTokens: nn.Embedding;
  layers: Attention[];
  finalNorm: nn.RMSNorm | undefined;
  readonly dropout: nn.Dropout = new nn.Dropout(0.5);
  readonly #hidden: nn.Linear;
  constructor(generator?: Generator) {
    super();
    this.embedTokens = new nn.Embedding(5, 4, { generator });
    this.layers = [new Attention(4, generator), new Attention(4, generator)];
    this.finalNorm = new nn.RMSNorm(4);
    this.#hidden = new nn.Linear(1, 1, { generator });
  }
  disposeHidden(): void {
    this.#hidden.dispose();
  }
}

const names = [
  'embed_tokens.weight',
  'layers.0.q_proj.weight',
  'layers.0.out_proj.weight',
  'layers.0.out_proj.bias',
  'layers.1.q_proj.weight',
  'layers.1.out_proj.weight',
  'layers.1.out_proj.bias',
  'final_norm.weight',
];

let model: Model;
beforeEach(() => {
  model = new Model(new Generator(1));
});
afterEach(() => {
  model.disposeHidden();
  model.dispose();
});

describe('names', () => {
  test('parameters in the order of declaration, snake case, without private fields', () => {
    expect(Array.from(model.namedParameters(), ([name]) => name)).toEqual(names);
    expect([...model.stateDict().keys()]).toEqual(names);
    expect(model.parameters()).toHaveLength(names.length);
  });

  test('modules, parents first', () => {
    expect(Array.from(model.namedModules(), ([name]) => name)).toEqual([
      '',
      'embed_tokens',
      'layers.0',
      'layers.0.q_proj',
      'layers.0.out_proj',
      'layers.1',
      'layers.1.q_proj',
      'layers.1.out_proj',
      'final_norm',
      'dropout',
    ]);
  });

  test('an absent part has none; removing a layer renumbers', () => {
    model.finalNorm!.dispose();
    model.finalNorm = undefined;
    model.layers.shift()!.dispose();
    expect([...model.stateDict().keys()]).toEqual([
      'embed_tokens.weight',
      'layers.0.q_proj.weight',
      'layers.0.out_proj.weight',
      'layers.0.out_proj.bias',
    ]);
  });

  test('frozen tensors are in the state dict, not among the parameters', () => {
    model.layers[0]!.requiresGrad(false);
    expect(Array.from(model.namedParameters(), ([name]) => name)).toEqual(
      names.filter((name) => !name.startsWith('layers.0')),
    );
    expect([...model.stateDict().keys()]).toEqual(names);
  });
});

describe('state dict', () => {
  test('loads into another module; values are copied', () => {
    const other = new Model(new Generator(2));
    const weight = 'layers.1.q_proj.weight';
    expect(other.stateDict().get(weight)!.equal(model.stateDict().get(weight)!)).toBe(false);
    other.loadStateDict(model.stateDict());
    for (const [name, value] of model.stateDict()) {
      expect([name, other.stateDict().get(name)!.equal(value)]).toEqual([name, true]);
    }
    noGrad(() => model.layers[1]!.qProj.weight.zero_());
    expect(other.stateDict().get(weight)!.equal(model.stateDict().get(weight)!)).toBe(false);
    expect(other.parameters().every((p) => p.requiresGrad && p.isLeaf)).toBe(true);
    other.disposeHidden();
    other.dispose();
  });

  test('keeps the module’s dtype', () => {
    const half = new nn.LayerNorm(2, 1e-5, 'bfloat16');
    scope(() =>
      half.loadStateDict(
        new Map([
          ['weight', tensor([1, 2])],
          ['bias', tensor([3, 4])],
        ]),
      ),
    );
    expect([half.weight.dtype, half.bias.toArray()]).toEqual(['bfloat16', [3, 4]]);
    half.dispose();
  });

  test('what does not fit is named', () => {
    const state = model.stateDict();
    const missing = new Map(state);
    missing.delete('final_norm.weight');
    expect(() => model.loadStateDict(missing)).toThrow(nn.StateDictError);
    expect(() => model.loadStateDict(missing)).toThrow('tensor final_norm.weight is missing');
    scope(() => {
      const extra = new Map(state).set('lm_head.weight', tensor([1]));
      expect(() => model.loadStateDict(extra)).toThrow('unexpected tensor lm_head.weight');
      const misshapen = new Map(state).set('final_norm.weight', tensor([1]));
      expect(() => model.loadStateDict(misshapen)).toThrow(
        'tensor final_norm.weight has shape [1], the model needs [4]',
      );
    });
  });
});

test('to: what is there already stays the same tensor', () => {
  using model = new Attention(4, new Generator(1));
  const before = model.stateDict();
  expect(model.to('cpu')).toBe(model);
  expect([...model.stateDict().values()]).toEqual([...before.values()]);
});

describe('replaceModules', () => {
  test('sees every module with its name, parents first, and puts others in their places', () => {
    const seen: string[] = [];
    const norm = new nn.LayerNorm(4);
    nn.replaceModules(model, (name, module) => {
      seen.push(name);
      if (!name.endsWith('q_proj')) return undefined;
      module.dispose();
      return norm;
    });
    expect(seen).toEqual(Array.from(model.namedModules(), ([name]) => name).slice(1));
    expect(model.layers[0]!.qProj).toBe(norm);
    expect(model.layers[1]!.qProj).toBe(norm);
  });

  test('an element of an array; its children are not visited', () => {
    const seen: string[] = [];
    const other = new Attention(4);
    const first = model.layers[0]!;
    nn.replaceModules(model, (name, module) => {
      seen.push(name);
      return module === first ? other : undefined;
    });
    expect(model.layers[0]).toBe(other);
    expect(seen).toContain('layers.1.q_proj');
    expect(seen).not.toContain('layers.0.q_proj');
    first.dispose();
  });
});

describe('modes and life', () => {
  test('train and eval reach every module', () => {
    const x = tensor(new Float32Array(1000).fill(1));
    model.eval();
    expect(model.layers[1]!.outProj.training).toBe(false);
    expect(model.dropout.forward(x)).toBe(x);
    model.train();
    scope(() => {
      const y = new Set(model.dropout.forward(x).toArray());
      expect(y).toEqual(new Set([0, 2]));
    });
    x.dispose();
  });

  test('parameters survive every scope, also when the module is returned through several', () => {
    const made = scope(() => scope(() => new nn.Linear(2, 2, { generator: new Generator(1) })));
    scope(() => made.forward(tensor([[1, 2]])));
    const inner = scope(() => {
      const layer = scope(() => new nn.Linear(2, 2, { generator: new Generator(1) }));
      return [layer.weight.disposed, layer] as const;
    })[1];
    expect(inner.weight.equal(made.weight)).toBe(true);
    const [kept] = scope(() => {
      const layer = scope(() => new nn.Linear(2, 2, { generator: new Generator(1) }));
      return [() => layer];
    });
    expect(kept!().weight.equal(made.weight)).toBe(true);
    for (const layer of [made, inner, kept!()]) layer.dispose();
    expect(made.weight.disposed).toBe(true);
  });

  test('starting values depend on the generator alone and lie in bounds', () => {
    const a = new nn.Linear(16, 8, { generator: new Generator(5) });
    const b = new nn.Linear(16, 8, { generator: new Generator(5) });
    expect(a.weight.equal(b.weight)).toBe(true);
    const values = a.weight.toArray();
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(0.25);
    expect(Math.max(...values)).toBeGreaterThan(0.2);
    expect(Math.min(...values)).toBeLessThan(-0.2);
    const c = new nn.Conv1d(4, 2, 4, { generator: new Generator(5), dtype: 'bfloat16' });
    expect([c.weight.shape, c.weight.dtype, c.bias.shape]).toEqual([[2, 4, 4], 'bfloat16', [2]]);
    for (const layer of [a, b, c]) layer.dispose();
  });

  test('layers compute what their functions compute', () => {
    scope(() => {
      const generator = new Generator(1);
      const x = keep(arange(0, 24, { dtype: 'float32' }).reshape([2, 3, 4]));
      const conv = new nn.Conv1d(3, 2, 3, { stride: 2, padding: 1, generator });
      const linear = new nn.Linear(4, 5, { generator });
      const rms = new nn.RMSNorm(4, 1e-5);
      const norm = new nn.LayerNorm(4);
      const { weight, bias } = conv;
      expect(conv.forward(x).equal(functional.conv1d(x, weight, bias, 2, 1))).toBe(true);
      expect(linear.forward(x).equal(functional.linear(x, linear.weight, linear.bias))).toBe(true);
      expect(rms.forward(x).equal(functional.rmsNorm(x, [4], rms.weight, 1e-5))).toBe(true);
      expect(norm.forward(x).allclose(functional.layerNorm(x, [4]), 1e-5, 1e-6)).toBe(true);
      backward(linear.forward(x).sum());
      expect(linear.weight.grad!.shape).toEqual([5, 4]);
      for (const layer of [conv, linear, rms, norm]) layer.dispose();
      x.dispose();
    });
  });
});
