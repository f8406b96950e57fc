/** `pare run --nproc`: the whole method in several processes, killed and resumed. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRecipe } from '../../lib/pipeline';
import { readLog } from '../../lib/pipeline/stages/teacher';
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

interface Program {
  child: ChildProcess;
  ended: Promise<{ code: number | null; out: string; err: string }>;
}

function pare(args: readonly string[], env: Record<string, string> = {}): Program {
  const program = join(__dirname, '../../bin/pare.js');
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...process.env, OMP_NUM_THREADS: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const texts = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => (texts.out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (texts.err += chunk.toString()));
  const ended = new Promise<Awaited<Program['ended']>>((resolve) =>
    child.on('close', (code) => resolve({ code, ...texts })),
  );
  return { child, ended };
}

/** The process of a rank, below the one that launched it. */
function pidOf({ child }: Program, rank: number): number {
  const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
  const pid = children
    .trim()
    .split(' ')
    .find((pid) => readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`\0RANK=${rank}\0`));
  return Number(pid);
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Whether a stage under way has written its state. */
function hasState(run: string, stage: string): boolean {
  if (!existsSync(run)) return false;
  const work = readdirSync(run).find(
    (name) => name.startsWith(`.${stage}-`) && name.endsWith('.work'),
  );
  return work !== undefined && existsSync(join(run, work, 'checkpoints', 'checkpoint-2'));
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
  const args = ['run', recipe, '--nproc', '2'];
  const first = pare(args);
  await until(() => hasState(join(dir, 'killed'), 'teacher'));
  process.kill(pidOf(first, 1), 'SIGKILL');
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
