import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ComparisonTable } from '../../lib/compress';
import { compareSystems, createMetric, createMetricFor } from '../../lib/metrics';
import { oneLine, pare } from './invoke';

const references = ['Am Montag um neun Uhr.', 'der Preis beträgt zehn Euro', 'im Juli', 'ja, gern'];
const teacher = ['Am Montag um neun Uhr.', 'der Preis ist zehn Euro', 'im Juni', 'ja'];
const student = ['Am Montag um acht Uhr.', 'der Preis beträgt zehn', 'im Juli', 'nein'];
const chinese = ['星期一九点', '十欧元', '七月', '好'];

let folder: string;
const path = (...names: string[]): string => join(folder, ...names);
function write(name: string, content: string): string {
  writeFileSync(path(name), content);
  return path(name);
}
const lines = (texts: readonly string[]): string => `${texts.join('\n')}\n`;

interface Texts {
  split: string;
  language: string;
  texts: string[];
  references: string[];
}
const german = (texts: string[], split: string = 'test'): Texts => ({
  ...{ split, language: 'de', texts, references },
});

/** As `evaluate --json` prints it. */
function printed(name: string, ...all: Texts[]): string {
  return write(name, lines(all.map((each) => JSON.stringify({ model: name, ...each }))));
}

/** As a run keeps it. */
function kept(run: string, model: string, all: readonly Texts[]): string {
  const dir = path(run, `evaluation-${model}`);
  mkdirSync(dir, { recursive: true });
  const bySplit: Record<string, unknown[]> = {};
  for (const { split, ...rest } of all) (bySplit[split] ??= []).push({ ...rest, segments: 4 });
  writeFileSync(join(dir, 'evaluation.json'), `${JSON.stringify(bySplit)}\n`);
  return dir;
}

async function tablesOf(...args: string[]): Promise<ComparisonTable[]> {
  const { exitCode, stdout, stderr } = await pare('compare', ...args, '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return JSON.parse(stdout) as ComparisonTable[];
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-compare-'));
  write('ref', lines(references));
  write('a', lines(teacher));
  write('b', lines(student));
});
afterAll(() => rmSync(folder, { recursive: true }));

const named = (a: string, b: string): { name: string; hypotheses: string[] }[] => [
  { name: a, hypotheses: teacher },
  { name: b, hypotheses: student },
];

describe('pare compare', () => {
  test('plain text: what the library gives, by the metrics asked for', async () => {
    const args = [path('a'), path('b'), '--references', path('ref')];
    const metrics = [createMetric('ter', { noPunct: true }), createMetric('bleu')];
    const systems = named(path('a'), path('b'));
    const expected = { testSet: null, language: null };
    expect(await tablesOf(...args, '-m', 'ter,bleu', '--ter-no-punct')).toEqual([
      { ...expected, ...compareSystems(systems, references, metrics) },
    ]);
    const options = { test: 'approximate-randomization', trials: 50, samples: 40 } as const;
    const more = ['--paired-ar', '--trials', '50', '--samples', '40', '--seed', '7'];
    const names = ['--names', 'old,new', '--alpha', '0.3', '-m', 'chrf'];
    expect(await tablesOf(...args, ...more, ...names)).toEqual([
      {
        ...expected,
        ...compareSystems(named('old', 'new'), references, [createMetric('chrf')], {
          ...options,
          seed: 7,
          alpha: 0.3,
        }),
      },
    ]);
  });

  test('several files of references', async () => {
    const second = write('ref-2', lines(['', 'der Preis ist zehn Euro', '', 'nein']));
    const args = [path('a'), path('b'), '--references', `${path('ref')},${second}`, '-m', 'bleu'];
    const [table] = await tablesOf(...args);
    expect(table!.metrics[0]!.signature).toContain('nrefs:var|');
  });

  test('evaluations: a table for each test set and language, metrics as they are reported', async () => {
    const zh = { split: 'test', language: 'zh', texts: chinese, references: chinese };
    const a = printed('a.jsonl', german(teacher), zh);
    const b = printed('b.jsonl', zh, german(student));
    const tables = await tablesOf(a, b);
    expect(tables.map(({ testSet, language }) => [testSet, language])).toEqual([
      ['test', 'de'],
      ['test', 'zh'],
    ]);
    for (const { language, metrics, systems } of tables) {
      const bleu = createMetricFor('bleu', language!);
      expect(metrics.map(({ name }) => name)).toEqual(['BLEU', 'chrF2', 'chrF2++', 'exact_match']);
      expect(metrics[0]!.signature).toContain(bleu.settings);
      expect(systems.map(({ name }) => name)).toEqual([a, b]);
    }
    expect(tables[1]!.systems[1]!.scores[0]!.versusBaseline).toMatchObject({ delta: 0, pValue: 1 });
  });

  test('a run folder is the model that it hands over; its others are folders of it', async () => {
    const teacherFolder = kept('run', 'teacher', [german(teacher), german(teacher, 'voices')]);
    const healed = kept('run', 'healed', [german(student), german(student, 'voices')]);
    writeFileSync(
      path('run', 'report.json'),
      JSON.stringify({ models: [{ name: 'teacher' }, { name: 'healed' }] }),
    );
    const tables = await tablesOf(teacherFolder, path('run'));
    expect(tables.map(({ testSet }) => testSet)).toEqual(['test', 'voices']);
    const direct = await tablesOf(
      ...[join(teacherFolder, 'evaluation.json'), join(healed, 'evaluation.json')],
      ...['--names', `${teacherFolder},${path('run')}`],
    );
    expect(direct).toEqual(tables);
  });

  test('what only one was evaluated on is left out, and told', async () => {
    const a = printed('more.jsonl', german(teacher), german(teacher, 'dev'));
    const b = printed('fewer.jsonl', german(student));
    const { exitCode, stdout, stderr } = await pare('compare', a, b, '--names', 'A,B');
    expect(exitCode).toBe(0);
    expect(stdout).toContain('German, test: 4 segments; baseline A\n');
    expect(stdout).not.toContain('dev');
    expect(stderr).toBe('left out: dev in de, which B lacks\n');
  });

  test('tables are written by their ending, and printed as asked', async () => {
    const args = ['compare', path('a'), path('b'), '--references', path('ref'), '-m', 'chrf'];
    const outputs = ['tex', 'md', 'json', 'txt'].map((ending) => path('tables', `t.${ending}`));
    const more = outputs.flatMap((file) => ['--output', file]);
    const { exitCode, stdout } = await pare(...args, ...more);
    expect(exitCode).toBe(0);
    const [tex, md, json, txt] = outputs.map((file) => readFileSync(file, 'utf8'));
    expect(stdout).toBe(txt);
    for (const [format, written] of [
      ['latex', tex],
      ['markdown', md],
      ['json', json],
    ]) {
      expect((await pare(...args, '--format', format!)).stdout).toBe(written);
    }
    expect((await pare(...args, '--json')).stdout).toBe(json);
    expect(readdirSync(path('tables')).sort()).toEqual(['t.json', 't.md', 't.tex', 't.txt']);
  });

  test.each([
    { name: 'plain text without references', args: ['a', 'b'], says: 'give --references' },
    { name: 'a missing file', args: ['a.jsonl', 'nowhere'], says: 'nowhere' },
    { name: 'an empty folder', args: ['a.jsonl', 'empty'], says: 'holds no evaluation' },
    { name: 'a run that has not ended', args: ['a.jsonl', 'half'], says: 'evaluation-teacher' },
    { name: 'an older output', args: ['a.jsonl', 'old.jsonl'], says: 'evaluate the model again' },
    { name: 'no JSON of ours', args: ['a.jsonl', 'number.json'], says: 'holds no texts' },
    { name: 'other references', args: ['a.jsonl', 'other.jsonl'], says: 'different references' },
    { name: 'nothing in common', args: ['b.jsonl', 'dev.jsonl'], says: 'no test set in common' },
    { name: 'a test set twice', args: ['a.jsonl', 'twice.jsonl'], says: 'test in de twice' },
    { name: 'texts that lack', args: ['a.jsonl', 'short.jsonl'], says: '3 texts but 4' },
    { name: 'the same twice', args: ['a.jsonl', 'a.jsonl'], says: 'two systems are called' },
  ])('$name: one line', async ({ args, says }) => {
    printed('a.jsonl', german(teacher));
    printed('b.jsonl', german(student));
    mkdirSync(path('empty'), { recursive: true });
    kept('half', 'teacher', [german(teacher)]);
    write('old.jsonl', `${JSON.stringify({ split: 'test', language: 'de', scores: {} })}\n`);
    write('number.json', '7\n');
    printed('other.jsonl', { ...german(student), references: teacher });
    printed('dev.jsonl', german(student, 'dev'));
    printed('twice.jsonl', german(student), german(student));
    printed('short.jsonl', german(student.slice(1)));
    const result = await pare('compare', ...args.map((name) => path(name)));
    expect(result).toMatchObject({ exitCode: 1, stdout: '' });
    expect(result.stderr).toMatch(oneLine);
    expect(result.stderr).toContain(says);
  });
});
