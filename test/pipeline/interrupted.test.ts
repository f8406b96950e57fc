/** Runs that are aborted or killed, and go on: the result is that of a run that was left alone. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { runRecipe, type RunResult } from '../../lib/pipeline';
import { memory } from '../../lib/torch';
import { artifacts, digests, leftovers, numbers } from './folders';
import { tinyCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe } from './tiny-recipe';

jest.setTimeout(1_200_000);
const execute = promisify(execFile);

let dir: string;
let whole: RunResult;

const recipeFor = (name: string): string =>
  writeRecipe(dir, tinyRecipe(join(dir, 'corpus'), join(dir, name)), `${name}.yaml`);

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pare-interrupted-'));
  tinyCorpus(join(dir, 'corpus'));
  whole = await runRecipe(recipeFor('whole'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function expectSame(result: RunResult): void {
  expect(digests(result.student)).toEqual(digests(whole.student));
  for (const stage of ['teacher', 'pruned', 'healed', 'quantized']) {
    const model = (run: RunResult): string => join(run.dir, stage, 'model');
    expect(digests(model(result))).toEqual(digests(model(whole)));
  }
  expect(numbers(result.report)).toEqual(numbers(whole.report));
  expect(artifacts(result.dir)).toEqual(artifacts(whole.dir));
  expect(leftovers(result.dir)).toEqual([]);
}

/** A place in a run: what is reported as in progress, how often, and the stage that it is of. */
const places: [label: string, done: number, stage: string][] = [
  ['teacher', 3, 'teacher'],
  ['evaluating teacher on test (de)', 4, 'evaluation-teacher'],
  ['importance', 2, 'importance'],
  ['importance', 5, 'importance'],
  ['healing', 1, 'healed'],
  ['healing', 3, 'healed'],
  ['teacher translates into zh', 4, 'distilled'],
  ['QLoRA', 3, 'student'],
  ['evaluating student on test (zh)', 4, 'evaluation-student'],
];

test('aborted in every stage, one after the other', async () => {
  const recipe = recipeFor('aborted');
  const run = join(dir, 'aborted');
  const before = memory().handles;
  for (const [label, done, stage] of places) {
    const controller = new AbortController();
    const attempt = runRecipe(recipe, {
      signal: controller.signal,
      onProgress: (progress) => {
        if (progress.label === label && progress.done === done) controller.abort();
      },
    });
    await expect(attempt).rejects.toMatchObject({ name: 'AbortError' });
    expect(artifacts(run)).not.toContain(stage);
    expect(readdirSync(run).some((name) => name.startsWith(`.${stage}-`))).toBe(true);
    expect(existsSync(join(run, 'report.json'))).toBe(false);
    // Of a 4-bit checkpoint some handles are left to the collector, whatever happens.
    if (!existsSync(join(run, 'quantized'))) {
      expect(memory().handles).toBeLessThanOrEqual(before);
    }
  }
  const heard: string[] = [];
  const result = await runRecipe(recipe, {
    onStage: (name, a) => void (a.reused || heard.push(name)),
  });
  expect(heard).toEqual(['evaluation-student']);
  expectSame(result);
});

test('a listener that throws stops a run that can go on', async () => {
  const recipe = recipeFor('thrown');
  const attempt = runRecipe(recipe, {
    onProgress: ({ label, done }) => {
      if (label === 'QLoRA' && done === 4) throw new Error('no more');
    },
  });
  await expect(attempt).rejects.toThrow('no more');
  expectSame(await runRecipe(recipe));
});

test('killed by a signal that cannot be caught, again and again', async () => {
  const recipe = recipeFor('killed');
  const run = join(dir, 'killed');
  const child = (event: string[]): Promise<{ stdout: string }> =>
    execute(process.execPath, [join(__dirname, 'child.js'), recipe, ...event]);
  const events = ['teacher 5', 'importance 3', 'stage pruned', 'healing 2', 'QLoRA 3'];
  for (const event of events) {
    await expect(child([event])).rejects.toMatchObject({ signal: 'SIGKILL' });
    artifacts(run);
  }
  // As from a kill while the report was written.
  writeFileSync(join(run, 'report.html.tmp-1-2'), '<html>');
  const { stdout } = await child([]);
  expect(JSON.parse(stdout)).toEqual({
    student: join(run, 'student', 'model'),
    peak: expect.any(Number) as number,
  });
  const heard: string[] = [];
  const result = await runRecipe(recipe, {
    onStage: (name, a) => void (a.reused || heard.push(name)),
  });
  expect(heard).toEqual([]);
  expectSame(result);
});
