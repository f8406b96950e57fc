/** What the paper varies, each by one line, at tiny size: docs/recipes.md has the same lines. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRecipe, type RunResult } from '../../lib/pipeline';
import { readConfig } from '../../lib/qwen2-audio';
import { tinySplits, tinyCorpus, writeCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe } from './tiny-recipe';

jest.setTimeout(900_000);

let dir: string;
let file: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-ablations-'));
  tinyCorpus(join(dir, 'corpus'));
  const recipe = tinyRecipe(join(dir, 'corpus'), join(dir, 'run'));
  recipe.heal.teacherTexts = true;
  file = writeRecipe(dir, { ...recipe, languages: ['de'] });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Runs with settings; gives the stages that were made. */
async function run(...set: string[]): Promise<{ result: RunResult; made: string[] }> {
  const made: string[] = [];
  const result = await runRecipe(file, {
    set,
    onStage: (name, { reused }) => void (reused || made.push(name)),
  });
  return { result, made };
}

const layersOf = (path: string): number => readConfig(path).text.numHiddenLayers;

test('a block in the middle in place of a search', async () => {
  const { result, made } = await run('importance.method=middle', 'importance.remove=3');
  expect(made).not.toContain('importance');
  expect(made).toContain('pruned');
  expect(layersOf(result.student)).toBe(2);
  expect(result.report.importance).toEqual([]);
  // Which layers they were is told nowhere else.
  expect(result.report.blocks).toEqual([{ name: 'The block in the middle', layers: [1, 2, 3] }]);
  expect(readFileSync(result.reportPath, 'utf8')).toContain('Removed: 1, 2, 3.');
  expect(result.report.protocol.splits[1]).toMatchObject({ name: 'dev', selects: false });
});

test('the loss in place of chrF, other numbers of layers: a longer search goes on', async () => {
  for (const remove of [1, 2, 3]) {
    const { result, made } = await run(
      'importance.criterion=loss',
      `importance.remove=${remove}`,
      'distill=',
      'heal.teacherTexts=',
    );
    expect(made).not.toContain('teacher');
    expect(layersOf(result.student)).toBe(5 - remove);
    const [search] = result.report.importance;
    expect(search).toMatchObject({ criterion: 'loss', layers: 5 });
    expect(search!.iterations).toHaveLength(remove);
  }
});

test('healing after each layer; the search is told in the teacher’s numbers', async () => {
  const { result, made } = await run('heal.every=1', 'importance.remove=2');
  expect(made.filter((name) => /^(importance|pruned|healed)/.test(name))).toEqual([
    ...['importance-1', 'pruned-1', 'healed-1'],
    ...['importance-2', 'pruned-2', 'healed-2'],
  ]);
  expect(layersOf(result.student)).toBe(3);
  const [search] = result.report.importance;
  const removed = search!.iterations.map((iteration) => iteration.removed);
  expect(new Set(removed).size).toBe(2);
  const [first, second] = search!.iterations.map(({ candidates }) =>
    candidates.map((c) => c.layer),
  );
  expect(first).toEqual([1, 2, 3]);
  expect(second).toEqual([1, 2, 3].filter((layer) => layer !== removed[0]));
  expect(result.report.curves.map(({ stage }) => stage)).toEqual([
    ...['teacher', 'healing 1', 'healing 2', 'QLoRA'],
  ]);
  expect((await run('heal.every=1', 'importance.remove=2')).made).toEqual([]);
});

test('a student of further corpora: no sentence of dev or test is trained on', async () => {
  const other = join(dir, 'other');
  const { test: held, dev, train } = tinySplits(other);
  const strangers = train.map((utterance, i) => ({
    ...utterance,
    text: `${utterance.text} again`,
    group: `again ${i}`,
  }));
  writeCorpus(other, { train: [...strangers, held[0]!, dev[0]!] });
  const extra = `distill.extra=[{ path: ${other}, limit: 20 }]`;
  const base = ['importance.method=middle', 'importance.remove=3'];
  await run(...base);
  const { result, made } = await run(...base, extra);
  expect(made).toEqual(['student', 'evaluation-student']);
  const part = result.report.protocol.splits.find(({ name }) => name === 'tones, train');
  expect(part).toMatchObject({ segments: 20, selects: false });
  expect(part!.use).toContain('2 left out');
  // 24 of its own and 20 more, in batches of 8.
  const log = readFileSync(join(result.dir, 'student', 'log.jsonl'), 'utf8');
  expect(log.trim().split('\n')).toHaveLength(5);
  expect((await run(...base, extra)).made).toEqual([]);
  await expect(run(`distill.extra=[{ path: ${other}, split: dev }]`)).rejects.toThrow(
    /has no split 'dev'/,
  );
});
