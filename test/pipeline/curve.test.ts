import { curveOf } from '../../lib/pipeline/curve';
import type { TrainingLogEntry } from '../../lib/train/loop';

/** Losses that fall, with a step now and then that does not. */
function log(steps: number, metrics: (step: number) => Record<string, number>): TrainingLogEntry[] {
  return Array.from({ length: steps }, (_, i) => ({
    step: i + 1,
    steps,
    loss: 1 + 1 / (i + 1),
    learningRate: i === 1000 ? 2e-3 : 1e-3,
    gradNorm: 1,
    seconds: 0.1,
    ...metrics(i + 1),
  }));
}

test('a log that has only a loss is one series', () => {
  const curve = curveOf(
    'healing',
    log(3, () => ({})),
  );
  expect(curve.losses).toEqual([
    {
      kind: 'loss',
      points: [2, 1.5, 1 + 1 / 3].map((loss, i) => ({
        step: i + 1,
        steps: 1,
        mean: loss,
        low: loss,
        high: loss,
      })),
    },
  ]);
  expect(curve).toMatchObject({ stage: 'healing', steps: 3, validation: [] });
});

test('parts are series of their own, the sum is none', () => {
  const ctcSteps = 2;
  const metrics = (step: number): Record<string, number> =>
    step > ctcSteps ? { translation: 4 / step, ctc: 40 / step } : { ctc: 40 / step };
  const { losses } = curveOf('teacher', log(4, metrics));
  expect(losses.map(({ kind, points }) => [kind, points.map(({ step }) => step)])).toEqual([
    ['translation', [3, 4]],
    ['ctc', [1, 2, 3, 4]],
  ]);
  expect(losses[1]!.points.map(({ mean }) => mean)).toEqual([40, 20, 40 / 3, 10]);
});

test('a long log keeps what is behind each point, and how many steps it has', () => {
  const metrics = (step: number): Record<string, number> => ({
    ctc: step === 2345 ? 99 : step === 3456 ? 0.001 : 1,
    ...(step > 1500 ? { translation: 2 } : {}),
  });
  const { steps, losses, learningRate } = curveOf('teacher', log(4750, metrics));
  expect(steps).toBe(4750);
  const counts = losses.map(({ points }) => points.reduce((sum, point) => sum + point.steps, 0));
  expect(counts).toEqual([3250, 4750]);
  for (const { points } of losses) expect(points.length).toBeLessThanOrEqual(400);
  const [translation, ctc] = losses.map(({ points }) => points);
  expect(translation![0]!.step).toBeGreaterThan(1500);
  expect(Math.max(...ctc!.map(({ high }) => high))).toBe(99);
  expect(Math.min(...ctc!.map(({ low }) => low))).toBe(0.001);
  expect(Math.max(...ctc!.map(({ mean }) => mean))).toBeLessThan(10);
  expect(Math.max(...learningRate.map(({ high }) => high))).toBe(2e-3);
});

test('an empty log is a curve of nothing', () => {
  expect(curveOf('teacher', [])).toEqual({
    stage: 'teacher',
    steps: 0,
    losses: [{ kind: 'loss', points: [] }],
    learningRate: [],
    validation: [],
  });
});
