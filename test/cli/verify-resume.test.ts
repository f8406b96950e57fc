/**
 * `pare verify-resume` in an installed package: its runs are processes of the program itself. That
 * it sees a broken resume is shown by breaking it.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ResumeVerification } from '../../lib/pipeline';
import { tinyCorpus } from '../pipeline/tiny-corpus';
import { tinyRecipe, writeRecipe } from '../pipeline/tiny-recipe';
import { installPackage } from './installed-package';
import { jsonLines, oneLine, type Invocation } from './invoke';

jest.setTimeout(1_800_000);

let folder: string;
let installed: string;
let recipe: string;
/** Every stage is in `recipe`; here a teacher alone, whose dropout needs the generator's state. */
let teacherAlone: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-verified-'));
  installed = installPackage();
  tinyCorpus(join(folder, 'corpus'));
  mkdirSync(join(folder, 'tmp'));
  const tiny = tinyRecipe(join(folder, 'corpus'), join(folder, 'mine'));
  recipe = writeRecipe(folder, tiny);
  const { importance: _, heal: __, quantize: ___, distill, teacher, ...rest } = tiny;
  teacher.train.lora = distill.lora;
  teacherAlone = writeRecipe(folder, { ...rest, languages: ['de'], teacher }, 'teacher.yaml');
});
afterAll(() => {
  for (const dir of [folder, installed]) rmSync(dir, { recursive: true });
});
// Nothing may be left of the runs, nor be written to the recipe's own output.
afterEach(() => {
  expect(readdirSync(join(folder, 'tmp'))).toEqual([]);
  expect(existsSync(join(folder, 'mine'))).toBe(false);
});

function verify(...args: string[]): Promise<Invocation> {
  const program = join(installed, 'bin/pare.js');
  // A cache of its own, so that the package makes the demo's corpus itself.
  const env = { ...process.env, TMPDIR: join(folder, 'tmp'), PARE_CACHE: join(folder, 'cache') };
  return new Promise((resolve) =>
    execFile(
      process.execPath,
      [program, 'verify-resume', ...args],
      { env },
      (error, stdout, stderr) => resolve({ exitCode: Number(error?.code ?? 0), stdout, stderr }),
    ),
  );
}

test('killed in every stage and in the middle of writes, a run ends as one left alone', async () => {
  const { exitCode, stdout, stderr } = await verify(recipe, '--json', '--seed', '4');
  const [result, ...more] = jsonLines(stdout) as unknown as ResumeVerification[];
  expect({ exitCode, difference: result?.firstDifference }).toEqual({ exitCode: 0 });
  expect(more).toEqual([]);
  const { stages, kills } = result!;
  expect(result).toMatchObject({ identical: true, seed: 4, kills: stages.length + 4 });
  const named = ['teacher', 'importance', 'pruned', 'healed', 'quantized', 'distilled', 'student'];
  expect(stages.map(({ name }) => name)).toEqual(expect.arrayContaining([...named, 'report']));
  for (const stage of stages) expect(stage).toMatchObject({ given: false });
  for (const stage of stages) expect(stage.kills.length).toBeGreaterThan(0);
  const all = stages.flatMap((stage) => stage.kills);
  expect(all).toHaveLength(kills);
  expect(all.some(({ torn }) => torn.some((path) => path.includes('.')))).toBe(true);
  expect(all.map(({ point }) => point)).not.toContain('its end');
  expect(stages.find(({ name }) => name === 'student')).toMatchObject({ steps: 5 });
  expect(stages.find(({ name }) => name === 'importance')).toMatchObject({ candidates: 6 });
  expect(stderr).toContain(`killed ${kills} of ${kills}: report, `);
});

test('the demo, with less of everything', async () => {
  const settings = [
    'corpus.demo={train: 32, dev: 8, test: 8, testVoices: 8}',
    ...['importance.remove=1', 'heal.epochs=2', 'heal.batchSize=8', 'heal.warmupSteps=1'],
    ...['distill.batchSize=8', 'distill.warmupSteps=1'],
  ];
  const demo = join(__dirname, '../../recipes/demo.yaml');
  const set = settings.flatMap((setting) => ['--set', setting]);
  const { exitCode, stdout } = await verify(demo, '--json', '--seed', '5', ...set);
  const [result] = jsonLines(stdout) as unknown as ResumeVerification[];
  expect({ exitCode, difference: result?.firstDifference }).toEqual({ exitCode: 0 });
  const { stages, identical } = result!;
  expect(identical).toBe(true);
  const made = stages.filter(({ given }) => !given);
  expect(made.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['importance', 'pruned', 'healed', 'quantized', 'student', 'report']),
  );
  for (const stage of made) expect(stage.kills.length).toBeGreaterThan(0);
});

/** The compiled file, what of it is taken out, and what must be told. */
const mutations: [what: string, file: string, broken: RegExp, told: RegExp][] = [
  [
    'random numbers',
    'train/checkpoint.js',
    /\(0, _torch\.setRngState\)\(.*\);/,
    /teacher\/log\.jsonl line \d: loss is [\d.]+, not [\d.]+$/,
  ],
  [
    'the moments of the optimiser',
    'train/checkpoint.js',
    /optimizer\.loadStateDict\([^;]*\);/,
    /teacher\/log\.jsonl line \d: (loss|gradNorm) is [\d.]+, not [\d.]+$/,
  ],
  [
    'the position in the data',
    'train/translation.js',
    /seededRandom\)\(`step \$\{seed\} \$\{step\}`\)/,
    /teacher\/log\.jsonl line \d: loss is [\d.]+, not [\d.]+$/,
  ],
  [
    'a log that is cut to its checkpoint',
    'pipeline/training-log.js',
    /log\.retain\(.*\);/,
    /teacher\/log\.jsonl (line \d: step is \d, not \d|has \d+ lines, not \d)$/,
  ],
];
/** A generator that goes on from call to call, in place of one a step. */
const oneStream = "seededRandom)('all steps' + (globalThis.calls = (globalThis.calls ?? 0) + 1))";

test.each(mutations)('a resume without %s is seen', async (what, file, broken, told) => {
  const path = join(installed, 'dist', file);
  const code = readFileSync(path, 'utf8');
  expect(code).toMatch(broken);
  writeFileSync(path, code.replace(broken, what.includes('data') ? oneStream : ';'));
  try {
    const { exitCode, stdout, stderr } = await verify(teacherAlone, '--kills', '6', '--seed', '2');
    const last = stderr.trimEnd().split('\n').at(-1)!;
    expect(last).toMatch(/^pare: the run that was killed ended otherwise: /);
    expect(last).toMatch(told);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/^teacher .* differs: /m);
    expect(stdout).toMatch(/^6 kills \(seed 2\), \d in the middle of a write: not identical$/m);
  } finally {
    writeFileSync(path, code);
  }
});

test('both runs can be kept, and the recipe can be changed', async () => {
  const set = ['--set', 'teacher.train.steps=1', '--set', 'teacher.train.lora='];
  const { exitCode, stdout } = await verify(teacherAlone, '--kills', '1', '--keep', ...set);
  expect(exitCode).toBe(0);
  const [, whole, killed] = /^runs: {2}(\S+), (\S+)$/m.exec(stdout)!;
  for (const run of [whole!, killed!]) expect(readdirSync(run)).toContain('report.json');
  expect(stdout).toMatch(/identical; not killed here/);
  rmSync(join(whole!, '../..'), { recursive: true });
});

test('what cannot be run is told in one line', async () => {
  const missing = await verify(join(folder, 'none.yaml'));
  expect(missing).toMatchObject({ exitCode: 1, stdout: '' });
  expect(missing.stderr).toMatch(oneLine);
  const setting = await verify(recipe, '--set', 'teacher.train.stepz=1');
  expect(setting).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(oneLine) as string });
  const corpus = await verify(teacherAlone, '--set', 'corpus.path=nowhere');
  expect(corpus.exitCode).toBe(1);
  expect(corpus.stderr).toMatch(/^pare: the run does not reach its end: .*nowhere/);
  expect((await verify(recipe, '--kills', '0')).exitCode).toBe(2);
});
