/** Schedules of the learning rate, and the log of a run. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { JsonLines } from '../../lib/json-lines';
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

test('a log is cut to the entries that are wanted, and goes on from there', () => {
  const log = new JsonLines<{ step: number }>(join(folder, 'log.jsonl'));
  log.retain(() => false);
  for (const step of [1, 2, 3]) log.append({ step });
  log.retain(({ step }) => step <= 2);
  log.append({ step: 3 });
  expect(readFileSync(log.path, 'utf8')).toBe('{"step":1}\n{"step":2}\n{"step":3}\n');
});

test('a checked log knows which of its lines is damaged, drops it and goes on', () => {
  const entries = [
    { layer: 1, score: 12.5 },
    { layer: 2, score: 1 / 3 },
    { layer: 3, score: -7 },
  ];
  const path = join(folder, 'trace.jsonl');
  const log = new JsonLines<(typeof entries)[0]>(path, true);
  for (const entry of entries) log.append(entry);
  expect(log.scan()).toEqual({ entries, damaged: [] });
  const whole = readFileSync(path, 'utf8');
  // Valid JSON, another number.
  writeFileSync(path, whole.replace('0.3333', '0.3433'));
  expect(log.scan()).toEqual({ entries: [entries[0], entries[2]], damaged: [2] });
  // Torn by a kill is not damaged.
  appendFileSync(path, '{"layer":4,');
  expect(log.scan().damaged).toEqual([2]);
  const again = new JsonLines<(typeof entries)[0]>(path, true);
  again.append(entries[1]!);
  expect(again.scan()).toEqual({ entries: [entries[0], entries[2], entries[1]], damaged: [] });
});
