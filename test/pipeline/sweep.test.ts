/** Variants and sweeps: several runs that share their stages, and their comparison. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { readPoints, runSweep, SettingError, type SweepOptions } from '../../lib/pipeline';
import type { ComparisonRow } from '../../lib/report';
import { tinyCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe } from './tiny-recipe';

jest.setTimeout(900_000);

let dir: string;
let file: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-sweep-'));
  tinyCorpus(join(dir, 'corpus'));
  const recipe = tinyRecipe(join(dir, 'corpus'), join(dir, 'run'));
  const variants = {
    a: { importance: null, heal: null, 'distill.lora.r': 4 },
    b: {},
  };
  file = writeRecipe(dir, { ...recipe, title: 'Tiny', languages: ['de'], variants });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const names = (options: SweepOptions): string[] => readPoints(file, options).map((p) => p.name);

describe('the runs that are asked for', () => {
  test('each variant with each value', () => {
    expect(names({})).toEqual(['a', 'b']);
    expect(names({ variants: ['b'], sweep: ['importance.remove=1,2', 'heal.steps=3,4'] })).toEqual([
      ...['b,importance.remove=1,heal.steps=3', 'b,importance.remove=1,heal.steps=4'],
      ...['b,importance.remove=2,heal.steps=3', 'b,importance.remove=2,heal.steps=4'],
    ]);
  });

  test('values that are lists, texts with signs, nothing', () => {
    const points = readPoints(file, {
      variants: ['b'],
      sweep: ['distill.lora.targetModules=[q_proj, v_proj],all-linear', 'title="a/b",null'],
    });
    const [first, second] = points;
    expect(points).toHaveLength(4);
    expect(first!.recipe.distill!.lora.targetModules).toEqual(['q_proj', 'v_proj']);
    expect(first!.recipe.title).toBe('a/b');
    expect(second!.recipe.title).toBeUndefined();
    for (const { name, yaml } of points) {
      expect(name).toMatch(/^[\w.,=+-]+$/);
      expect(yaml).not.toContain('variants');
    }
    expect(new Set(points.map(({ name }) => name)).size).toBe(4);
  });

  test('without a key that is not there, and with it', () => {
    const points = readPoints(file, { variants: ['b'], sweep: ['heal.every=null,1'] });
    expect(points.map(({ recipe }) => recipe.heal!.every)).toEqual([undefined, 1]);
    expect(points.map(({ name }) => name)).toEqual(['b,heal.every=', 'b,heal.every=1']);
  });

  test('changes go in front: a variant and a value win', () => {
    const set = ['importance.remove=1', 'distill.lora.r=3'];
    const [a, b] = readPoints(file, { set });
    expect(a!.recipe).toMatchObject({ distill: { lora: { r: 4 } } });
    expect(a!.recipe.importance).toBeUndefined();
    expect(b!.recipe).toMatchObject({ importance: { remove: 1 }, distill: { lora: { r: 3 } } });
  });

  test.each<[SweepOptions, RegExp]>([
    [{ variants: ['c'] }, /there is no variant c; it has a, b/],
    [{ sweep: ['importance.remove'] }, /'importance.remove' sweeps nothing; give key=values/],
    [{ sweep: ['importance.remove='] }, /'importance.remove=' has no values/],
    [{ sweep: ['importance.remove=[1'] }, /cannot set importance.remove/],
    [{ variants: ['b'], sweep: ['importance.remove=1,two'] }, /must be a number, not "two"/],
    [{ set: ['heal='], variants: ['a'] }, /cannot set heal=: there is no heal to leave out/],
  ])('%j', (options, message) => {
    expect(() => readPoints(file, options)).toThrow(SettingError);
    expect(() => readPoints(file, options)).toThrow(message);
  });

  test('a recipe that has no variants', () => {
    const plain = join(dir, 'plain.yaml');
    writeFileSync(plain, stringify(tinyRecipe('c', 'r')));
    expect(() => readPoints(plain, { variants: ['a'] })).toThrow(/no variant a; it has none/);
    const [only, ...more] = readPoints(plain, {});
    expect(only!.name).toBe('');
    expect(more).toEqual([]);
  });
});

test('runs share the teacher and what else is the same; one table compares them', async () => {
  const made: string[] = [];
  let run = '';
  const options: SweepOptions = {
    onRun: (name) => (run = name),
    onStage: (name, { reused }) => void (reused || made.push(`${run} ${name}`)),
  };
  const both = await runSweep(file, options);
  const of = (name: string): string[] => made.filter((stage) => stage.startsWith(`${name} `));
  expect(of('a')).toContain('a teacher');
  expect(of('a')).not.toContain('a importance');
  expect(of('b')).not.toContain('b teacher');
  expect(of('b')).not.toContain('b evaluation-teacher');
  expect(of('b')).not.toContain('b distilled');
  expect(of('b')).toEqual(expect.arrayContaining(['b importance', 'b healed', 'b student']));
  expect(both.report.models.map(({ name }) => name)).toEqual(['teacher', 'a', 'b']);
  expect(both.report.models.map(({ size }) => size.decoderLayers)).toEqual([5, 5, 3]);
  for (const { result } of both.runs) expect(existsSync(result.reportPath)).toBe(true);

  const rows = JSON.parse(readFileSync(join(dir, 'run', 'sweep.json'), 'utf8')) as ComparisonRow[];
  expect(rows.map((row) => row.run)).toEqual(['teacher', 'a', 'b']);
  const student = both.runs[1]!.result.report.models.at(-1)!;
  expect(rows[2]).toMatchObject({
    ...{ language: 'de', testSet: 'test', decoderLayers: 3, bytes: student.size.bytes },
    scores: { chrf: { value: student.evaluations[0]!.scores.chrf!.value } },
  });
  const markdown = readFileSync(join(dir, 'run', 'sweep.md'), 'utf8');
  expect(markdown).toMatch(/^\| b \| 3 \| /m);
  expect(readFileSync(both.reportPath, 'utf8')).toContain('<svg');

  made.length = 0;
  const sweep = await runSweep(file, {
    ...options,
    variants: ['b'],
    sweep: ['importance.method=search,middle'],
  });
  // The search in so many words is the search that is meant without any.
  expect(of('b,importance.method=search')).toEqual([]);
  expect(of('b,importance.method=middle')).not.toContain('b,importance.method=middle teacher');
  expect(sweep.runs).toHaveLength(2);
});
