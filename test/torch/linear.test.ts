/** Linear layers with many rows, which another library may multiply, against float64. */
import {
  backward,
  functional as F,
  Generator,
  noGrad,
  randn,
  scope,
  type Tensor,
} from '../../lib/torch';

const generator = new Generator(3);
const random = (shape: number[]): Tensor => {
  const made = randn(shape, { generator });
  made.requiresGrad = true;
  return made;
};

function relativeError(value: Tensor, exact: Tensor): number {
  expect(value.shape).toEqual(exact.shape);
  const off = value.detach().to('float64').sub(exact.detach()).norm().item();
  return off / exact.detach().norm().item();
}

/** Output and gradients in the given precision, from the same numbers. */
function layer(inputs: readonly (Tensor | undefined)[], weights: Tensor, dtype?: 'float64') {
  const [x, weight, bias] = inputs.map((input) => {
    if (input === undefined || dtype === undefined) return input;
    const copy = input.detach().to(dtype);
    copy.requiresGrad = true;
    return copy;
  });
  const y = F.linear(x!, weight!, bias);
  backward(y.mul(dtype === undefined ? weights : weights.to(dtype)).sum());
  return [y, x!.grad!, weight!.grad!, ...(bias === undefined ? [] : [bias.grad!])];
}

test.each([
  ['rows', [200, 48], true],
  ['batches of rows', [5, 40, 48], true],
  ['no bias', [7, 30, 48], false],
])('%s: output and gradients are those of float64', (_, shape, withBias) => {
  scope(() => {
    const inputs = [random(shape), random([33, 48]), withBias ? random([33]) : undefined];
    const weights = randn([...shape.slice(0, -1), 33], { generator });
    const exact = layer(inputs, weights, 'float64');
    for (const [i, value] of layer(inputs, weights).entries()) {
      // bfloat16 inside would give 1e-3.
      expect(relativeError(value, exact[i]!)).toBeLessThan(1e-6);
    }
  });
});

test('rows that are no plain matrix: transposed, expanded', () => {
  scope(() => {
    const x = randn([48, 100], { generator });
    const weight = random([16, 48]);
    const transposed = F.linear(x.transpose(0, 1), weight);
    expect(
      relativeError(transposed, F.linear(x.transpose(0, 1).contiguous(), weight).to('float64')),
    ).toBe(0);
    const row = randn([1, 48], { generator }).expand([90, 48]);
    backward(F.linear(row, weight).sum());
    const expected = row.sum([0]).unsqueeze(0).expand([16, 48]).to('float64');
    expect(relativeError(weight.grad!, expected)).toBeLessThan(1e-6);
  });
});

test('frozen weights get no gradient, and without one nothing is recorded', () => {
  scope(() => {
    const x = random([128, 32]);
    const weight = randn([8, 32], { generator });
    const y = F.linear(x, weight);
    expect(y.requiresGrad).toBe(true);
    backward(y.sum());
    expect(weight.grad).toBeUndefined();
    expect(noGrad(() => F.linear(x, weight)).requiresGrad).toBe(false);
    expect(F.linear(x.detach(), weight).requiresGrad).toBe(false);
  });
});

test('shapes that do not fit are refused as by libtorch', () => {
  scope(() => {
    const x = randn([128, 32], { generator });
    expect(() => F.linear(x, randn([8, 31], { generator }))).toThrow(/linear: .*128x32.*31x8/);
    expect(() => F.linear(x, randn([8, 32], { generator }), randn([7], { generator }))).toThrow(
      /linear: /,
    );
  });
});
