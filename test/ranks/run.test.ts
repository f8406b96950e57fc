/** `pare run --nproc`: the whole method in several processes, killed and resumed. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRecipe } from '../../lib/pipeline';
import { launchRanks } from '../../lib/ranks';
import { readLog } from '../../lib/pipeline/stages/teacher';
import { hasState, pare, pidOf, until } from '../distributed/pare';
import { artifacts, leftovers } from '../pipeline/folders';
import { tinyCorpus } from '../pipeline/tiny-corpus';
import { tinyRecipe, writeRecipe } from '../pipeline/tiny-recipe';

jest.setTimeout(1_200_000);

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-nproc-'));
  tinyCorpus(join(dir, 'corpus'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function recipeFor(name: string, change: (recipe: ReturnType<typeof tinyRecipe>) => void): string {
  const recipe = tinyRecipe(join(dir, 'corpus'), join(dir, name));
  change(recipe);
  return writeRecipe(dir, recipe, `${name}.yaml`);
}

test('two ranks make what one makes: another run takes all of it', async () => {
  const recipe = recipeFor('two', () => undefined);
  const alone = recipeFor('one', () => undefined);
  const { code, out, err } = await pare(['run', recipe, '--nproc', '2', '--json']).ended;
  expect(err).not.toContain('pare:');
  expect(code).toBe(0);
  const lines = out.trim().split('\n');
  expect(lines).toHaveLength(1);
  const { student, models } = JSON.parse(lines[0]!) as { student: string; models: unknown[] };
  expect(existsSync(student)).toBe(true);
  const one = await runRecipe(alone);
  expect(models).toHaveLength(one.report.models.length);
  expect(artifacts(join(dir, 'two'))).toEqual(artifacts(join(dir, 'one')));
  expect(leftovers(join(dir, 'two'))).toEqual([]);
  // Until rounding is multiplied by many steps, losses are those of one process.
  const losses = (run: string): number[] =>
    readLog(join(dir, run, 'teacher', 'log.jsonl')).map(({ loss }) => loss);
  expect(losses('two')).toHaveLength(6);
  for (const [i, loss] of losses('two').entries()) {
    expect(Math.abs(loss - losses('one')[i]!)).toBeLessThan(1e-4);
  }
  const reused: boolean[] = [];
  await runRecipe(recipe, { onStage: (_, artifact) => void reused.push(artifact.reused) });
  expect(reused.every((value) => value)).toBe(true);
});

test('two ranks train weights in bfloat16 as one does', async () => {
  const lean = (recipe: ReturnType<typeof tinyRecipe>): void => {
    Object.assign(recipe.teacher.train, { weights: 'bfloat16', optimizer: 'adamw8bit' });
    for (const part of ['importance', 'heal', 'quantize', 'distill']) delete recipe[part];
  };
  const [two, one] = [recipeFor('two-lean', lean), recipeFor('one-lean', lean)];
  const { code, err } = await pare(['run', two, '--nproc', '2']).ended;
  expect([code, err]).toEqual([0, expect.any(String)]);
  await runRecipe(one);
  const losses = (run: string): number[] =>
    readLog(join(dir, run, 'teacher', 'log.jsonl')).map(({ loss }) => loss);
  expect(losses('two-lean')).toHaveLength(6);
  for (const [i, loss] of losses('two-lean').entries()) {
    expect(Math.abs(loss / losses('one-lean')[i]! - 1)).toBeLessThan(0.02);
  }
});

test('a rank that dies in training ends the run; the same command goes on', async () => {
  const recipe = recipeFor('killed', ({ teacher }) => (teacher.train.steps = 60));
  const args = ['run', recipe, '--nproc', '2', '--max-restarts', '0'];
  const first = pare(args);
  await until(() => hasState(join(dir, 'killed'), 'teacher'));
  process.kill(pidOf(first, 1)!, 'SIGKILL');
  const { code, err } = await first.ended;
  expect(code).toBe(1);
  expect(err).toContain('rank 1 has ended (SIGKILL)');
  expect(err).toMatch(/^pare: .* of rank 0 of 2: another rank is gone/m);
  expect(existsSync(join(dir, 'killed', '.lock'))).toBe(false);
  const second = await pare(args).ended;
  expect(second.code).toBe(0);
  const steps = readLog(join(dir, 'killed', 'teacher', 'log.jsonl')).map(({ step }) => step);
  expect(steps).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
});

describe.each([0, 1])('rank %i dies', (rank) => {
  test('in training: all start again, and end as if nothing had happened', async () => {
    const long = (recipe: ReturnType<typeof tinyRecipe>): void => {
      recipe.teacher.train.steps = 60;
      for (const part of ['importance', 'heal', 'quantize', 'distill']) delete recipe[part];
    };
    const name = `training-${rank}`;
    const whole = recipeFor('training', long);
    if (rank === 0) expect((await pare(['run', whole, '--nproc', '2']).ended).code).toBe(0);
    const program = pare(['run', recipeFor(name, long), '--nproc', '2']);
    await until(() => hasState(join(dir, name), 'teacher'));
    process.kill(pidOf(program, rank)!, 'SIGKILL');
    const { code, err } = await program.ended;
    expect(err).toContain(
      rank === 0
        ? 'rank 0 has ended (SIGKILL); all ranks start again, for the 1. time of at most 3'
        : 'rank 0 cannot go on without rank 1; all ranks start again, for the 1. time of at most 3',
    );
    expect(code).toBe(0);
    const log = (of: string): ReturnType<typeof readLog> =>
      readLog(join(dir, of, 'teacher', 'log.jsonl'));
    expect(log(name).map(({ step }) => step)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
    for (const [i, { loss }] of log(name).entries()) {
      expect(Math.abs(loss - log('training')[i]!.loss)).toBeLessThan(1e-5);
    }
    expect(leftovers(join(dir, name))).toEqual([]);
  });
});

test('rank 0 dies in the search: all start again, and find the same', async () => {
  const recipe = recipeFor('search', () => undefined);
  const program = pare(['run', recipe, '--nproc', '2']);
  await until(() => hasState(join(dir, 'search'), 'importance', 'trace.jsonl'));
  process.kill(pidOf(program, 0)!, 'SIGKILL');
  const { code, err } = await program.ended;
  expect(err).toContain('rank 0 has ended (SIGKILL); all ranks start again');
  expect(code).toBe(0);
  // The first test's run was not disturbed.
  expect(artifacts(join(dir, 'search'))).toEqual(artifacts(join(dir, 'two')));
  const found = (run: string): unknown =>
    JSON.parse(readFileSync(join(dir, run, 'importance', 'importance.json'), 'utf8'));
  expect(found('search')).toEqual(found('two'));
});

test('a rank 0 that always dies is not started for ever', async () => {
  const lines: string[] = [];
  const args = ['-e', "process.kill(process.pid, 'SIGKILL')"];
  const status = await launchRanks({
    ...{ nproc: 2, args, maxRestarts: 2, onLine: (line) => void lines.push(line) },
  });
  expect(status).toBe(1);
  const said = lines.filter((line) => line.startsWith('rank 0'));
  expect(said).toEqual([
    'rank 0 has ended (SIGKILL); all ranks start again, for the 1. time of at most 2',
    'rank 0 has ended (SIGKILL); all ranks start again, for the 2. time of at most 2',
    'rank 0 has ended (SIGKILL)',
  ]);
});

test.each([0, 1])('a rank %i that ends by itself is not started again', async (rank) => {
  const lines: string[] = [];
  const program = `process.exitCode = process.env.RANK === '${rank}' ? 2 : 0`;
  const onLine = (line: string): void => void lines.push(line);
  const options = { nproc: 2, args: ['-e', program], maxRestarts: 2, onLine };
  expect(await launchRanks(options)).toBe(rank === 0 ? 2 : 0);
  expect(lines.join()).not.toContain('again');
});

test('an interruption stops all ranks, and the same command goes on', async () => {
  const recipe = recipeFor('interrupted', ({ teacher }) => (teacher.train.steps = 60));
  const first = pare(['run', recipe, '--nproc', '2']);
  await until(() => hasState(join(dir, 'interrupted'), 'teacher'));
  first.child.kill('SIGINT');
  const { code, err } = await first.ended;
  expect(code).toBe(1);
  expect(err).toContain('pare: interrupted');
  // Another number of ranks, this time.
  const second = await pare(['run', recipe]).ended;
  expect(second.code).toBe(0);
});

test('what is wrong with the recipe is told once', async () => {
  const recipe = recipeFor('wrong', ({ importance }) => (importance.remove = 40));
  const { code, err } = await pare(['run', recipe, '--nproc', '2']).ended;
  expect(code).toBe(1);
  expect(err).toContain('40 of 5 decoder layers are to be removed');
  const { code: usage, err: told } = await pare(['run', recipe, '--nproc', '0']).ended;
  expect(usage).toBe(2);
  expect(told).toContain('--nproc');
});

test("torchrun's variables are honoured, and half of them refused", async () => {
  const recipe = recipeFor('two', () => undefined);
  const { code, err } = await pare(['run', recipe], { RANK: '1' }).ended;
  expect(code).toBe(1);
  expect(err).toContain('pare: WORLD_SIZE is not set; RANK and WORLD_SIZE belong together');
});
