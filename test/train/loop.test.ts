/** The training loop on a small network: errors, abort, what it logs. */
import { manualSeed, memory } from '../../lib/torch';
import { TrainingError } from '../../lib/train/error';
import { train } from '../../lib/train/loop';
import { scheduleFactor } from '../../lib/train/schedule';
import { settle } from '../qwen2-audio/tiny-model';
import { makeRun, rejection, values } from './small-run';

jest.setTimeout(60_000);

describe('a loss that is no number', () => {
  test.each([
    ['NaN', NaN],
    ['Infinity', Infinity],
  ])('%s is an error; parameters are as after the last good step', async (name, bad) => {
    const good = makeRun({ steps: 2 });
    manualSeed(3);
    await train({ ...good.options, schedule: 'constant' });
    const run = makeRun({ schedule: 'constant' });
    const { loss } = run.options;
    manualSeed(3);
    const promise = train({
      ...run.options,
      steps: 2 + 4,
      loss: (micro, step) => {
        const result = loss(micro, step);
        // The second micro-batch of the third step: the first has left its gradients.
        return step === 2 && micro.part === 1 ? { loss: result.loss.mul(bad) } : result;
      },
    });
    const error = await rejection(promise);
    expect(error).toBeInstanceOf(TrainingError);
    expect(error.message).toMatch(new RegExp(`^the loss is ${name} at step 3; `));
    expect(error.message).toContain('0.05');
    expect(values(run.network)).toEqual(values(good.network));
    for (const parameter of run.options.parameters.values()) {
      expect(parameter.grad).toBeUndefined();
    }
  });

  test('nor may a gradient be none, whatever the loss', async () => {
    const run = makeRun({ schedule: 'constant' });
    const start = values(run.network);
    const { loss } = run.options;
    // The root has no slope at 0: the value is 0, the gradient is not a number.
    const error = await rejection(
      train({
        ...run.options,
        loss: (micro, step) => {
          const result = loss(micro, step).loss;
          return { loss: result.add(run.network.first.weight.mul(0).sum().square().sqrt()) };
        },
      }),
    );
    expect(error).toBeInstanceOf(TrainingError);
    expect(error.message).toMatch(/gradient.* step 1; /);
    expect(values(run.network)).toEqual(start);
  });

  test('an error of the task leaves no gradient for another run', async () => {
    const run = makeRun();
    const { loss } = run.options;
    const promise = train({
      ...run.options,
      loss: (micro, step) => {
        if (micro.part === 1) throw new Error('no such file');
        return loss(micro, step);
      },
    });
    await expect(promise).rejects.toThrow('no such file');
    for (const parameter of run.options.parameters.values()) {
      expect(parameter.grad).toBeUndefined();
    }
  });
});

test('an abort before the first step changes nothing, and no run leaves tensors behind', async () => {
  const run = makeRun();
  const start = values(run.network);
  await settle(); // What tests before left to the collector would go in the middle.
  const before = memory();
  const signal = AbortSignal.abort(new Error('no'));
  await expect(train({ ...run.options, signal })).rejects.toThrow('no');
  expect(values(run.network)).toEqual(start);
  await train(run.options);
  expect(values(run.network)).not.toEqual(start);
  expect(memory()).toEqual(before);
});

test('metrics of micro-batches are summed, and the rate follows the schedule', async () => {
  const run = makeRun();
  const { loss } = run.options;
  await train({
    ...run.options,
    loss: (micro, step) => ({ ...loss(micro, step), metrics: { part: micro.part, one: 1 } }),
  });
  for (const [i, entry] of run.entries.entries()) {
    expect(entry).toMatchObject({ step: i + 1, steps: 6, part: 1, one: 2 });
    expect(entry.learningRate).toBe(0.05 * scheduleFactor('cosine', i, 6, 2));
    expect(entry.gradNorm).toBeGreaterThan(0);
  }
});
