/** A packed batch gives the loss and the gradients of padded rows. */
import { attachLora } from '../../lib/lora';
import { collate, Qwen2Audio, type CollateOptions, type Example } from '../../lib/qwen2-audio';
import { autocast, backward, Generator, memory, scope } from '../../lib/torch';
import { asked, examples, loadTiny, quantizeLinears, settle } from './tiny-model';

const cases: Record<string, Example[]> = {
  'a question a clip': [asked(0, [5, 6, 7]), asked(1, [7]), asked(2, [8, 9, 10, 11])],
  'several questions a clip': [
    ...[asked(0, [5, 6, 7]), asked(1, [8]), asked(2, [9, 4])],
    ...[asked(0, [6], [13]), asked(2, [5, 6, 4])],
  ],
  'a clip twice': [asked(2, [5, 6]), asked(0, [6]), asked(2, [5, 6])],
};

interface Learnt {
  loss: number;
  tokens: number;
  gradients: Map<string, number[]>;
}

function learn(
  model: Qwen2Audio,
  rows: readonly Example[],
  options: Pick<CollateOptions, 'packing' | 'shareRows'>,
  bf16: boolean = false,
): Learnt {
  return scope(() => {
    const batch = collate(model, rows, 'right', { shareRows: true, ...options });
    expect(batch.packing !== undefined).toBe(options.packing === true);
    const forward = () => model.loss(batch).loss;
    const loss = bf16 ? autocast(forward) : forward();
    backward(loss);
    const gradients = new Map<string, number[]>();
    for (const [name, parameter] of model.namedParameters()) {
      if (parameter.grad !== undefined) gradients.set(name, parameter.grad.toArray());
      parameter.grad = undefined;
    }
    return { loss: loss.item(), tokens: batch.inputIds.numel, gradients };
  });
}

/** Losses and the gradients of all parameters, relative to the largest value of each. */
function expectSame(packed: Learnt, padded: Learnt, relative: number): void {
  expect(packed.tokens).toBeLessThan(padded.tokens);
  expect(Math.abs(packed.loss / padded.loss - 1)).toBeLessThan(relative);
  expect([...packed.gradients.keys()]).toEqual([...padded.gradients.keys()]);
  const largest = Math.max(...[...padded.gradients.values()].map(norm));
  for (const [name, gradient] of padded.gradients) {
    const off = norm(packed.gradients.get(name)!.map((value, i) => value - gradient[i]!));
    // A bias of keys has no effect on attention: its gradient is rounding alone.
    const scale = name.endsWith('k_proj.bias') ? largest : norm(gradient);
    expect([name, off <= relative * scale]).toEqual([name, true]);
  }
}

function norm(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

describe.each(Object.entries(cases))('%s', (_, rows) => {
  let model: Qwen2Audio;
  beforeEach(() => {
    model = loadTiny();
    model.train();
  });
  afterEach(() => model.dispose());

  test('in float32', () => {
    expectSame(learn(model, rows, { packing: true }), learn(model, rows, {}), 1e-5);
  });

  test('with gradient checkpointing, which changes nothing', () => {
    const padded = learn(model, rows, {});
    const packed = learn(model, rows, { packing: true });
    model.gradientCheckpointing = true;
    const again = learn(model, rows, { packing: true });
    expectSame(again, padded, 1e-5);
    expect(again).toEqual(packed);
  });

  test('in bfloat16 as near as rounding lets them be', () => {
    const padded = learn(model, rows, {}, true);
    const exact = learn(model, rows, {});
    expectSame(learn(model, rows, { packing: true }, true), padded, 0.03);
    expect(padded.loss).not.toBe(exact.loss);
  });

  test.each([false, true])('with an adapter, over 4 bits: %s', (quantized) => {
    if (quantized) quantizeLinears(model);
    const config = { r: 4, loraAlpha: 8, targetModules: 'all-linear' };
    const adapter = attachLora(model, config, { generator: new Generator(3) });
    // B is zero at first, and A would have no gradient.
    for (const [name, parameter] of adapter.parameters()) {
      if (/lora_B/.test(name)) parameter.detach().fill_(0.02);
    }
    const padded = learn(model, rows, {});
    expect(padded.gradients.size).toBe(adapter.parameters().size);
    expectSame(learn(model, rows, { packing: true }), padded, 1e-5);
  });
});

test('a clip does not hear the others', () => {
  scope(() => {
    const model = loadTiny();
    const lossBeside = (other: Example): number =>
      learn(model, [asked(0, [5, 6, 7]), { ...other, labels: undefined }], { packing: true }).loss;
    expect(lossBeside(asked(2, [9, 9]))).toBeCloseTo(lossBeside(asked(2, [20, 21])), 5);
    model.dispose();
  });
});

test('rows of one length stay as they are', () => {
  scope(() => {
    const model = loadTiny();
    const rows = [asked(0, [5, 6, 7]), { ...asked(0, [8, 9, 10]), mel: examples()[0]!.mel }];
    learn(model, rows, { packing: false });
    expect(collate(model, rows, 'right', { packing: true }).packing).toBeUndefined();
    model.dispose();
  });
});

test('leaves no tensor behind', async () => {
  const model = loadTiny();
  const [rows] = Object.values(cases);
  learn(model, rows!, { packing: true });
  await settle();
  const before = memory();
  learn(model, rows!, { packing: true });
  expect(memory()).toEqual(before);
  model.dispose();
});
