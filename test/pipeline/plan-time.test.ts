/** Times of a plan: what is counted, what is timed, and that nothing is left behind. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { planRecipe } from '../../lib/pipeline';
import { searchSeconds, type Heard } from '../../lib/pipeline/time/decoding';
import { Shares } from '../../lib/pipeline/time/shares';
import { Budget, lineThrough, nextWork, secondsFor } from '../../lib/pipeline/time/stopwatch';
import { usualBytes } from '../../lib/pipeline/lessons';
import { largestLoad, promptLoad, trainingLoad, typicalBatch } from '../../lib/pipeline/workload';
import { getRngState, memory } from '../../lib/torch';
import { settle } from '../qwen2-audio/tiny-model';
import { tinyCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe } from './tiny-recipe';

jest.setTimeout(300_000);

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-plan-time-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('work', () => {
  test('a micro-batch is padded as a batch of training is', () => {
    const clips = [
      { frames: 100, targets: [5] },
      { frames: 60, targets: [5, 7] },
    ];
    const { positions, tokens, targets } = trainingLoad(clips, 300);
    // 104 frames are padded to 112, two clips of 56 positions.
    expect(positions).toBe(2 * 56);
    expect(targets).toBe(6 + 6 + 8);
    expect(tokens % 16).toBe(0);
    // A window is never exceeded.
    expect(trainingLoad([{ frames: 300, targets: [] }], 300).window).toBe(152);
    expect(promptLoad([300, 20], 300)).toMatchObject({ positions: 300, window: 150 });
  });

  test('the largest micro-batch has the longest clips, as many as there are', () => {
    const clips = [20, 90, 40, 70].map((frames) => ({ frames, targets: [2] }));
    expect(largestLoad(clips, 2, 300)).toEqual(trainingLoad([clips[1]!, clips[3]!], 300));
    expect(largestLoad(clips, 9, 300).positions).toBe(4 * 48);
    expect(clips[0]!.frames).toBe(20);
  });

  test('a small vocabulary has hardly more than single bytes', () => {
    expect(usualBytes(320)).toBe(1);
    expect(usualBytes(640)).toBe(2);
    expect(usualBytes(156_032)).toBe(3);
  });

  test('a typical batch is a full one near the mean', () => {
    const clips = Array.from({ length: 21 }, (_, i) => ({ frames: 10 + i, targets: [3] }));
    const { indices, mean } = typicalBatch(clips, 4, 1, (batch) =>
      batch.reduce((sum, { frames }) => sum + frames, 0),
    );
    expect(indices).toHaveLength(4);
    const cost = indices.reduce((sum, i) => sum + clips[i]!.frames, 0);
    // Six batches, of which the last has one.
    expect(mean * cost).toBeCloseTo((21 * 20) / 6, 6);
  });
});

describe('lines', () => {
  test('two points give what is fixed and what is for each', () => {
    const line = lineThrough([
      { work: 10, seconds: 3 },
      { work: 20, seconds: 5 },
    ]);
    expect(line).toEqual({ fixed: 1, each: 0.2 });
    expect(secondsFor(line, 100)).toBeCloseTo(21, 9);
  });

  test('noise makes nothing cheaper than in proportion', () => {
    const points = [
      { work: 10, seconds: 3 },
      { work: 20, seconds: 2 },
    ];
    expect(lineThrough(points)).toEqual({ fixed: 0, each: 0.1 });
  });

  test('all work is timed where it is affordable, less where it is not', () => {
    const points = [
      { work: 10, seconds: 1 },
      { work: 20, seconds: 1.5 },
    ];
    expect(nextWork(points, 100, 50)).toBe(100);
    expect(nextWork(points, 1000, 10)!).toBeLessThan(100);
    expect(nextWork(points, 1000, 1)).toBeUndefined();
    // One point is no line, whatever is left.
    expect(nextWork(points.slice(0, 1), 1000, 0)).toBe(20);
    expect(nextWork([{ work: 99.5, seconds: 1 }], 100, 50)).toBeUndefined();
  });
});

test('what is timed while the machine is slow is set right by work that is always the same', async () => {
  let clock = 0;
  let slowness = 1;
  jest.spyOn(process, 'cpuUsage').mockImplementation(() => ({ user: clock * 1e6, system: 0 }));
  jest.spyOn(performance, 'now').mockImplementation(() => clock * 1e3);
  const budget = new Budget(100, { now: () => slowness });
  const oneSecond = (): void => void (clock += slowness);
  expect(await budget.time(oneSecond)).toBeCloseTo(1, 9);
  expect(await budget.time(oneSecond)).toBeCloseTo(1, 9);
  slowness = 2;
  // Known to be slow at its end alone.
  expect(await budget.time(oneSecond)).toBeCloseTo(2 / 1.5, 9);
  expect(await budget.time(oneSecond)).toBeCloseTo(1, 9);
  // What was used of the budget is what it took.
  expect(budget.used).toBeCloseTo(6, 9);
  jest.restoreAllMocks();
});

test('of the time that is left a trial has its part by the root of its work, at least a twentieth', () => {
  const shares = new Shares(
    new Map([
      ['much', 81],
      ['some', 1],
      ['little', 0.01],
    ]),
  );
  expect(shares.take('little')).toBe(0.05);
  expect(shares.take('much')).toBe(0.9);
  // The last one has all that is left.
  expect(shares.take('some')).toBe(1);
});

test('a search costs the layers behind the missing one, for each candidate', () => {
  const { recipe, heard } = search(2);
  const cost = {
    encode: () => 100,
    prompt: (_: readonly number[], layers: number) => layers,
    token: () => 0,
    start: 0,
    shape: 0,
    extrapolated: 1,
  };
  const dev = [{ id: 'a', audio: '', seconds: 1, text: 'a', translations: { de: 'a' } }];
  // Encoded once; the whole model; then the candidates 1 to 4 of 6 layers, with 4 to 1 layers behind
  // them, the state running through 4; then 5 layers, of which all that is 4 fifths.
  const expected = 100 + 6 + (4 + 4 * 2.5) + (0.8 * 4 + 3 * 0.8 * 2.5);
  expect(searchSeconds(heard, recipe, dev, cost, 6)).toBeCloseTo(expected, 9);

  // Late candidates alone: of 8 layers 5 and 6, with 2 and 1 behind them.
  const late = search(1, [1, 2, 3, 4]);
  const seconds = searchSeconds(late.heard, late.recipe, dev, cost, 8);
  expect(seconds).toBeCloseTo(100 + 8 + (6 + 2 * 1.5), 9);
});

function search(remove: number, protectedLayers: number[] = []): { recipe: never; heard: Heard } {
  const recipe = {
    importance: { remove, criterion: 'chrf', protectedLayers },
    ...{ languages: ['de'], generation: { batchSize: 4, maxNewTokens: 9 } },
  };
  const heard = {
    recipe,
    texts: { count: () => 1 },
    framesOf: (all: readonly unknown[]) => all.map(() => 100),
  };
  return { recipe: recipe as never, heard: heard as unknown as Heard };
}

describe('a recipe', () => {
  test('is timed without a run folder, and leaves no tensor and the same random numbers', async () => {
    tinyCorpus(join(dir, 'corpus'));
    const file = writeRecipe(dir, tinyRecipe(join(dir, 'corpus'), join(dir, 'none')));
    await settle();
    const [handles, rng] = [memory().handles, Buffer.from(getRngState()).toString('hex')];
    const plan = await planRecipe(file, { time: true });
    expect(plan.assumed.filter((text) => text.startsWith('no times'))).toEqual([]);
    for (const { name, expectedSeconds, processorSeconds } of plan.stages) {
      expect({ name, positive: processorSeconds! > 0 }).toEqual({ name, positive: true });
      expect(expectedSeconds! <= processorSeconds!).toBe(true);
    }
    expect(plan.calibration).toBeGreaterThan(0);
    await settle();
    expect(memory().handles).toBe(handles);
    expect(Buffer.from(getRngState()).toString('hex')).toBe(rng);
  });

  test('twice the steps take about twice as long, from the same calibration', async () => {
    const corpus = join(dir, 'corpus');
    const { stages } = await planRecipe(writeRecipe(dir, tinyRecipe(corpus, join(dir, 'none'))), {
      time: true,
      set: ['heal.steps=1000', 'teacher.train.steps=100000'],
    });
    const of = (name: string): number => stages.find((s) => s.name === name)!.processorSeconds!;
    expect(of('teacher') / of('healed')).toBeGreaterThan(10);
  });

  test('without a corpus what is assumed is told; sound that cannot be read costs the times alone', async () => {
    const { teacher: _, ...rest } = tinyRecipe('/nowhere', join(dir, 'none'));
    const checkpoint = 'recipes/demo-teacher';
    const recipe = { ...rest, teacher: { checkpoint: join(process.cwd(), checkpoint) } };
    const file = writeRecipe(dir, recipe, 'assumed.yaml');
    const plan = await planRecipe(file, { time: true, set: ['importance=', 'heal='] });
    expect(plan.assumed[0]).toMatch(/\/nowhere is not there: .* 100 a split for times/);
    expect(plan.stages[0]!.expectedSeconds).toBeGreaterThan(0);

    const broken = tinyCorpus(join(dir, 'broken'));
    for (const { audio } of [...broken.dev, ...broken.test]) {
      writeFileSync(join(dir, 'broken', audio), 'no sound');
    }
    const bad = writeRecipe(dir, tinyRecipe(join(dir, 'broken'), join(dir, 'none')), 'broken.yaml');
    const untimed = await planRecipe(bad, { time: true });
    expect(untimed.assumed).toEqual([expect.stringMatching(/^no times: /)]);
    expect(untimed.stages[0]!.peak).toBeGreaterThan(0);
    expect(untimed.stages[0]!.expectedSeconds).toBeUndefined();
  });
});
