/** The report of a run, without the run: what its stages would have left is made up. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { scoreTranslations } from '../../lib/compress';
import type { Utterance } from '../../lib/data';
import type { Context, Progress } from '../../lib/pipeline/context';
import { writeReport, type ReportInputs, type TestedModel } from '../../lib/pipeline/report';

const root = join(__dirname, '../..');
const checkpoint = join(root, 'recipes/demo-teacher');
const evaluate = { samples: 20, seed: 7 };
const languages = ['de', 'zh'];
const testSets = ['test', 'voices'];

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'pare-report-'))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function split(name: string): Utterance[] {
  return Array.from({ length: 6 }, (_, i) => ({
    id: `${name}-${i}`,
    audio: `${name}-${i}.wav`,
    text: `in ${i} weeks`,
    translations: { de: `in ${i} Wochen`, zh: `${i}周后` },
  })) as unknown as Utterance[];
}

function contextWith(options: Context['options']): Context {
  const names = ['train', 'dev', ...testSets];
  const context = {
    recipe: {
      name: 'made up',
      languages,
      corpus: { train: 'train', dev: 'dev', test: testSets, testNames: {} },
      evaluate,
    },
    folder: { dir },
    splits: Object.fromEntries(names.map((name) => [name, split(name)])),
    options,
  };
  return context as unknown as Context;
}

function tested(name: string, role: TestedModel['role'], wrong: number): TestedModel {
  const evaluations = testSets.map((id) => {
    const results = languages.map((language) => {
      const refs = split(id).map(({ translations }) => translations[language]!);
      const texts = refs.map((text, i) => (i < wrong ? '-' : text));
      const scores = scoreTranslations(texts, refs, language, evaluate);
      const ids = split(id).map((utterance) => utterance.id);
      const what = { language, segments: refs.length, ids, texts, references: refs };
      return { ...what, scores, tokensPerSecond: 9 };
    });
    return [id, results] as const;
  });
  const hash = `${name} ${wrong}`;
  return { name, role, model: checkpoint, evaluations: Object.fromEntries(evaluations), hash };
}

function inputs(logs: ReportInputs['logs'] = []): ReportInputs {
  const models = [
    tested('teacher', 'teacher', 1),
    tested('pruned', 'step', 3),
    tested('student', 'student', 2),
  ];
  return { yaml: 'name: made up', tested: models, timings: [], logs, search: undefined };
}

test('tells how far it is, and lets others have a turn', async () => {
  const seen: Progress[] = [];
  let turns = 0;
  let running = true;
  const turn = (): void => {
    turns++;
    if (running) setImmediate(turn);
  };
  setImmediate(turn);
  const writing = writeReport(contextWith({ onProgress: (p) => void seen.push(p) }), inputs());
  await writing.finally(() => (running = false));
  // Two models against the teacher, and the constant answer: each on two splits in two languages.
  const total = 3 * 4;
  expect(seen).toEqual(
    Array.from({ length: total + 1 }, (_, done) => ({ label: 'report', done, total })),
  );
  expect(turns).toBeGreaterThanOrEqual(total);
});

test('has every model on every split in every language, and is on disk as it is returned', async () => {
  const { report, reportPath } = await writeReport(contextWith({}), inputs());
  expect(report.models.map(({ name }) => name)).toEqual(['teacher', 'pruned', 'student']);
  const conditions = testSets.flatMap((id) => languages.map((language) => [id, language]));
  for (const { evaluations, role } of report.models) {
    expect(evaluations.map(({ testSet, language }) => [testSet, language])).toEqual(conditions);
    for (const { scores } of evaluations) {
      expect(scores.chrf!.versusTeacher === null).toBe(role === 'teacher');
    }
  }
  expect(report.constantAnswers.map((c) => [c.testSet, c.language])).toEqual(conditions);
  expect(JSON.parse(readFileSync(join(dir, 'report.json'), 'utf8'))).toEqual(
    JSON.parse(JSON.stringify(report)),
  );
  expect(reportPath).toBe(join(dir, 'report.html'));
  expect(readFileSync(reportPath, 'utf8')).toContain('</html>');
});

test('a teacher that scores 0 leaves the p-value, and no retention', async () => {
  const models = [tested('teacher', 'teacher', 6), tested('student', 'student', 0)];
  const { report } = await writeReport(contextWith({}), { ...inputs(), tested: models });
  const { exact_match: exact } = report.models[1]!.evaluations[0]!.scores;
  expect(exact).toMatchObject({ value: 100, interval: { low: 100, high: 100 } });
  expect(exact!.versusTeacher).toEqual({ retention: null, interval: null, pValue: 1 / 21 });
});

test.each([0, 1, 5, 11])('aborted after %i comparisons, it writes nothing', async (after) => {
  const controller = new AbortController();
  const seen: number[] = [];
  const onProgress = ({ done }: Progress): void => {
    seen.push(done);
    if (done === after) controller.abort();
  };
  const writing = writeReport(contextWith({ onProgress, signal: controller.signal }), inputs());
  await expect(writing).rejects.toMatchObject({ name: 'AbortError' });
  expect(seen.at(-1)).toBe(after);
  expect(existsSync(join(dir, 'report.json'))).toBe(false);
  expect(existsSync(join(dir, 'report.html'))).toBe(false);
});

test('draws the parts of the loss from the logs, and leaves out a log that is not there', async () => {
  const path = join(dir, 'log.jsonl');
  const lines = [
    { step: 1, steps: 2, loss: 20, learningRate: 0, ctc: 40 },
    { step: 2, steps: 2, loss: 12, learningRate: 1e-3, ctc: 20, translation: 2 },
  ];
  writeFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const logs = [
    { stage: 'teacher', path },
    { stage: 'healing', path: undefined },
  ];
  const { report, reportPath } = await writeReport(contextWith({}), inputs(logs));
  expect(report.curves).toHaveLength(1);
  const [curve] = report.curves;
  expect(curve).toMatchObject({ stage: 'teacher', steps: 2 });
  expect(curve!.losses.map(({ kind, points }) => [kind, points.map((p) => p.mean)])).toEqual([
    ['translation', [2]],
    ['ctc', [40, 20]],
  ]);
  expect(readFileSync(reportPath, 'utf8')).toContain('CTC');
});
