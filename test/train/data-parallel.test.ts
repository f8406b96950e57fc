/** Training by several processes is training by one with the same global batch. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FinetuneOptions } from '../../lib/compress';
import { startAll, together } from '../distributed/processes';
import { main as train, type Trained } from '../distributed/programs/train';

jest.setTimeout(900_000);

const options: FinetuneOptions = {
  ...{ learningRate: 1e-3, batchSize: 5, seed: 3, steps: 6, maxGradNorm: 1 },
  // Rounding alone must not decide where a parameter goes.
  ...{ eps: 1e-4, weightDecay: 0.01, schedule: 'constant' },
};
const lora = { r: 2, loraAlpha: 4, useRslora: true };

/** The largest difference between two lists of numbers. */
function distance(a: readonly number[], b: readonly number[]): number {
  expect(b).toHaveLength(a.length);
  return Math.max(0, ...a.map((value, i) => Math.abs(value - b[i]!)));
}

function expectSame(one: Trained, other: Trained, weightTolerance: number = 1e-5): void {
  expect(distance(one.losses, other.losses)).toBeLessThan(1e-5);
  expect(distance(one.gradNorms, other.gradNorms)).toBeLessThan(1e-4);
  expect(other.tokens).toEqual(one.tokens);
  expect(Object.keys(other.weights)).toEqual(Object.keys(one.weights));
  for (const [name, weights] of Object.entries(one.weights)) {
    expect(distance(weights, other.weights[name]!)).toBeLessThan(weightTolerance);
  }
}

const kinds: [string, Partial<FinetuneOptions>][] = [
  ['full fine-tuning', {}],
  [
    'micro-batches of unequal number, SpecAugment',
    { microBatchSize: 2, specAugment: { timeMasks: 1 } },
  ],
  ['an adapter, with gradient checkpointing', { lora, gradientCheckpointing: true }],
  ['a CTC head that only some steps use', { ctcWeight: 0.5, ctcSteps: 2, transcribeRate: 0.5 }],
  ['8-bit optimiser', { optimizer: 'adamw8bit' }],
];

test.each(kinds)('%s: 1, 2 and 4 processes', async (_, more) => {
  const argument = { options: { ...options, ...more } };
  const alone = await train(argument);
  expect(new Set(alone.losses).size).toBe(6);
  for (const size of [2, 4]) {
    const endings = await together<Trained>('train', size, argument);
    for (const { value, message } of endings) {
      expect(message).toBeUndefined();
      // Of a moment between two 8-bit codes rounding decides which it gets.
      expectSame(alone, value!, more.optimizer === 'adamw8bit' ? 2e-4 : 1e-5);
      // Between ranks there is no rounding: all add the same sums.
      expect(value!.weights).toEqual(endings[0]!.value!.weights);
    }
  }
});

describe('a run that was cut short', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'pare-ranks-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const argument = (): { options: FinetuneOptions } => ({
    options: {
      ...options,
      state: { dir: join(dir, 'checkpoints'), everySteps: 2, fingerprint: 'f' },
    },
  });

  test('a rank is killed: the others say so; other numbers of ranks go on', async () => {
    const whole = await train({ options });
    const killed = await startAll<Trained>('train', 4, {
      ...argument(),
      kill: { rank: 2, step: 3 },
    });
    const ends = await Promise.all(killed.map(({ ending }) => ending));
    expect(ends[2]).toMatchObject({ signal: 'SIGKILL' });
    for (const rank of [0, 1, 3]) {
      expect(ends[rank]).toMatchObject({ error: 'DistributedError' });
      expect(ends[rank]!.message).toMatch(/of rank \d of 4: another rank is gone/);
    }
    expect(existsSync(join(dir, 'checkpoints', 'checkpoint-2'))).toBe(true);
    const [first] = await together<Trained>('train', 2, argument());
    expect(first!.message).toBeUndefined();
    expect(distance(whole.losses.slice(2), first!.value!.losses)).toBeLessThan(1e-5);
    for (const [name, weights] of Object.entries(whole.weights)) {
      expect(distance(weights, first!.value!.weights[name]!)).toBeLessThan(1e-5);
    }
  });

  test('one rank is interrupted: all stop after the same step, and the state is written', async () => {
    const ends = await together<Trained>('train', 2, {
      ...argument(),
      abort: { rank: 1, step: 3 },
    });
    for (const { error } of ends) expect(error).toBe('AbortError');
    const alone = await train(argument());
    const whole = await train({ options });
    // The interruption is heard in the fourth step.
    expect(alone.losses).toHaveLength(2);
    expect(distance(whole.losses.slice(4), alone.losses)).toBeLessThan(1e-5);
  });

  test('a loss that is no number ends all ranks with the same error', async () => {
    const ends = await together('train', 2, {
      options: { ...options, learningRate: 1e30, maxGradNorm: 0, weightDecay: 0 },
    });
    const [first, second] = ends;
    expect(first).toMatchObject({ error: 'TrainingError' });
    expect(second!.message).toBe(first!.message);
  });
});
