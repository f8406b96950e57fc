import {
  functional,
  Generator,
  getRngState,
  manualSeed,
  multinomial,
  ones,
  rand,
  randint,
  randn,
  randperm,
  scope,
  setRngState,
  tensor,
  TorchError,
  type Tensor,
} from '../../lib/torch';
import { expectEncoded, vectors } from './vectors';

const draws: Record<string, (generator: Generator) => Tensor> = {
  rand: (generator) => rand([5], { generator }),
  randn: (generator) => randn([20], { generator }),
  randint: (generator) => randint(-3, 9, [6], generator),
  randperm: (generator) => randperm(8, generator),
  multinomial: (generator) => multinomial(tensor([0.1, 0.2, 0.7]), 6, true, generator),
  'rand bfloat16': (generator) => rand([4], { dtype: 'bfloat16', generator }),
};

test.each(Object.entries(draws))('%s: the same seed gives PyTorch’s numbers', (name, draw) => {
  scope(() => expectEncoded(draw(new Generator(42)), vectors.generators[name]!));
});

test.each(Object.entries(draws))('%s: a generator seeded anew is as a new one', (name, draw) => {
  const generator = new Generator(7);
  scope(() => {
    // An odd count leaves half a pair of normal numbers behind.
    randn([3], { generator });
    generator.manualSeed(42);
    expectEncoded(draw(generator), vectors.generators[name]!);
  });
});

test('the oracle has no other', () => {
  expect(Object.keys(vectors.generators).sort()).toEqual(Object.keys(draws).sort());
});

test('generators do not disturb each other or the default one', () => {
  scope(() => {
    manualSeed(1);
    const expected = randn([3]).toArray();
    manualSeed(1);
    const a = new Generator(5);
    const b = new Generator(5);
    const first = randn([4], { generator: a }).toArray();
    expect(randn([3]).toArray()).toEqual(expected);
    expect(randn([4], { generator: b }).toArray()).toEqual(first);
    expect(randn([4], { generator: a }).toArray()).not.toEqual(first);
  });
});

test('a state that was saved goes on where it was', () => {
  scope(() => {
    const generator = new Generator(9);
    randn([7], { generator });
    const state = generator.getState();
    const next = randn([33], { generator }).toArray();
    const other = new Generator(0);
    other.setState(state);
    expect(randn([33], { generator: other }).toArray()).toEqual(next);
    generator.setState(state);
    expect(randn([33], { generator }).toArray()).toEqual(next);
  });
});

test('the default generator, which dropout uses', () => {
  scope(() => {
    manualSeed(3);
    const state = getRngState();
    const x = ones([100]);
    const dropped = functional.dropout(x, 0.5, true).toArray();
    expect(functional.dropout(x, 0.5, true).toArray()).not.toEqual(dropped);
    setRngState(state);
    expect(functional.dropout(x, 0.5, true).toArray()).toEqual(dropped);
    expect(new Set(dropped)).toEqual(new Set([0, 2]));
    expect(functional.dropout(x, 0.5, false).equal(x)).toBe(true);
  });
});

test('a state that is none is refused', () => {
  const generator = new Generator(1);
  expect(() => generator.setState(new Uint8Array(10))).toThrow(TorchError);
  expect(() => generator.setState(new Uint8Array(10))).toThrow(/^setGeneratorState: /);
});
