/** What a run writes of its training: a log, TensorBoard's files, and what a callback hears. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRecipe } from '../../lib/pipeline';
import type { TrainingLogEntry } from '../../lib/train/loop';
import { tinyCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe } from './tiny-recipe';

jest.setTimeout(600_000);

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-loggers-'));
  tinyCorpus(join(dir, 'corpus'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test('each step with its numbers, in the log, in TensorBoard’s files and for a callback', async () => {
  const { distill: _, quantize: __, ...short } = tinyRecipe(join(dir, 'corpus'), join(dir, 'run'));
  const recipe = { ...short, importance: { ...short.importance, method: 'middle' } };
  const heard: Record<string, TrainingLogEntry[]> = {};
  const tensorboard = join(dir, 'tensorboard');
  const { dir: run } = await runRecipe(writeRecipe(dir, recipe), {
    tensorboard,
    onMetrics: (stage, entry) => void (heard[stage] ??= []).push(entry),
  });
  expect(Object.keys(heard)).toEqual(['teacher', 'healing']);
  const lines = readFileSync(join(run, 'healed', 'log.jsonl'), 'utf8')
    .trim()
    .split('\n');
  const log = lines.map((line) => JSON.parse(line) as TrainingLogEntry);
  expect(log).toEqual(heard.healing);
  expect(log.map(({ step, epoch }) => [step, epoch])).toEqual([
    ...[
      [1, 1 / 3],
      [2, 2 / 3],
      [3, 1],
      [4, 4 / 3],
    ], // 24 utterances, 8 a step
  ]);
  for (const entry of log) {
    const { tokens, tokensPerSecond, seconds, peakMemory, etaSeconds } = entry;
    // 8 utterances in two languages: prompts, 7 to 11 audio tokens and targets.
    expect(tokens).toBeGreaterThan(16 * 20);
    expect(tokensPerSecond).toBeCloseTo(tokens! / seconds, 6);
    expect(peakMemory).toBeGreaterThan(50e6);
    expect(entry.gradNorm).toBeGreaterThan(0);
    expect(Number.isFinite(etaSeconds)).toBe(true);
  }
  expect(log.at(-1)!.etaSeconds).toBe(0);
  expect(readdirSync(tensorboard).sort()).toEqual(['healing', 'teacher']);
  const [events, ...more] = readdirSync(join(tensorboard, 'healing'));
  expect(more).toEqual([]);
  const bytes = readFileSync(join(tensorboard, 'healing', events!));
  for (const tag of [
    'loss',
    'learningRate',
    'gradNorm',
    'epoch',
    'tokensPerSecond',
    'peakMemory',
  ]) {
    expect(bytes.toString('latin1').split(`${String.fromCharCode(tag.length)}${tag}`)).toHaveLength(
      5,
    );
  }
});
