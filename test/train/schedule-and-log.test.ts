/** Schedules of the learning rate, and the log of a run. */
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { JsonLines } from '../../lib/train/log';
import { scheduleFactor } from '../../lib/train/schedule';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'pare-train-'))));
afterEach(() => rmSync(folder, { recursive: true }));

describe('schedules', () => {
  test.each([
    ['constant', 4, 0, [1, 1, 1, 1, 1]],
    ['constant', 4, 2, [0, 0.5, 1, 1, 1]],
    ['linear', 4, 0, [1, 0.75, 0.5, 0.25, 0]],
    ['linear', 6, 2, [0, 0.5, 1, 0.75, 0.5, 0.25, 0]],
    ['cosine', 4, 0, [1, (2 + Math.SQRT2) / 4, 0.5, (2 - Math.SQRT2) / 4, 0]],
    ['cosine', 5, 2, [0, 0.5, 1, 0.75, 0.25, 0]],
  ] as const)('%s over %i steps, warm-up %i', (name, steps, warmup, expected) => {
    const own = expected.map((_, step) => scheduleFactor(name, step, steps, warmup));
    own.forEach((factor, i) => expect(factor).toBeCloseTo(expected[i]!, 12));
  });
});

test('a log of JSON lines drops a line that was torn', () => {
  const log = new JsonLines<{ step: number }>(join(folder, 'below', 'log.jsonl'));
  expect(log.read()).toEqual([]);
  log.append({ step: 1 });
  log.append({ step: 2 });
  appendFileSync(log.path, '{"step": 3, "lo');
  const resumed = new JsonLines<{ step: number }>(log.path);
  expect(resumed.read()).toEqual([{ step: 1 }, { step: 2 }]);
  // A resumed run writes on; what it writes must be read.
  resumed.append({ step: 3 });
  resumed.append({ step: 4 });
  const steps = (): number[] => log.read().map(({ step }) => step);
  expect(steps()).toEqual([1, 2, 3, 4]);
  // All but the newline was written.
  appendFileSync(log.path, '{"step":5}');
  expect(steps()).toEqual([1, 2, 3, 4, 5]);
  new JsonLines<{ step: number }>(log.path).append({ step: 6 });
  expect(steps()).toEqual([1, 2, 3, 4, 5, 6]);
});
