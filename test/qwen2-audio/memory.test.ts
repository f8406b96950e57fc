/** A generated token and a training step leave no tensor behind. */
import { generate, ModelInputError, type Qwen2Audio } from '../../lib/qwen2-audio';
import { backward, memory, scope } from '../../lib/torch';
import { zeroGrad } from '../../lib/torch/autograd';
import { examples, leftPadded, loadTiny, settle, vectors } from './tiny-model';

jest.setTimeout(120_000);
const { maxNewTokens } = vectors;
let model: Qwen2Audio;
beforeAll(async () => {
  model = loadTiny();
  await settle();
});

test('generation, however many tokens', async () => {
  const batch = leftPadded(model);
  await generate(model, batch, { maxNewTokens });
  const before = memory();
  for (const tokens of [1, 3, maxNewTokens, 40]) {
    await generate(model, batch, { maxNewTokens: tokens });
    expect(memory()).toEqual(before);
  }
  expect(batch.inputIds.disposed).toBe(false);
});

test('generation that is aborted or refused', async () => {
  const batch = leftPadded(model);
  const [first, ...rest] = examples();
  const truncated = leftPadded(model, [{ ...first!, inputIds: [4, 3, 5] }, ...rest]);
  const before = memory();
  const signal = AbortSignal.abort(new Error('enough'));
  await expect(generate(model, batch, { maxNewTokens, signal })).rejects.toThrow('enough');
  expect(memory()).toEqual(before);
  await expect(generate(model, truncated, { maxNewTokens })).rejects.toThrow(ModelInputError);
  expect(memory()).toEqual(before);
  expect(truncated.size + batch.size).toBe(6);
});

test('the view of a model without layers', () => {
  const before = memory();
  for (let i = 1; i < 4; i++) {
    const rest = [0, 1, 2, 3, 4].filter((layer) => layer !== i);
    scope(() => model.withLayers(rest).forward(leftPadded(model)).sum().item());
  }
  expect(memory()).toEqual(before);
});

test('training steps', () => {
  const own = loadTiny();
  const rows = examples([
    [31, 222, 90, 17, 1],
    [64, 65, 1],
    [205, 1],
  ]);
  const step = (): void => {
    scope(() => {
      const sums = own.loss(leftPadded(own, rows));
      expect(sums.targets).toBe(10);
      backward(sums.loss.div(sums.targets));
    });
    zeroGrad(own.parameters());
  };
  step();
  const before = memory();
  for (let i = 0; i < 3; i++) step();
  expect(memory()).toEqual(before);
});
