/** The teacher that is committed is the one that its recipe makes: one run, its shape, its log. */
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readRecipe } from '../../lib/pipeline/recipe';
import { account } from '../../lib/qwen2-audio/accounting';
import { readConfig } from '../../lib/qwen2-audio';
import type { TrainingLogEntry } from '../../lib/train/loop';

const recipes = join(__dirname, '../../recipes');
const dir = join(recipes, 'demo-teacher');
const { recipe } = readRecipe(join(recipes, 'demo-teacher.yaml'));
const random = recipe.teacher.random!;
const train = recipe.teacher.train!;

test('has the shape of the recipe', () => {
  const { raw, targetLanguages } = readConfig(dir);
  expect(targetLanguages).toEqual(recipe.languages);
  expect(raw.audio_config).toMatchObject(random.audio);
  expect(raw.text_config).toMatchObject({ ...random.text, vocab_size: random.vocabSize });
  expect(account(dir).parameters).toBeLessThanOrEqual(10_000_000);
});

test('was trained in one run of the recipe: every step once, by one schedule', () => {
  const log = readFileSync(join(dir, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as TrainingLogEntry);
  expect(log.map(({ step }) => step)).toEqual(
    Array.from({ length: train.steps! }, (_, i) => i + 1),
  );
  expect(new Set(log.map(({ steps }) => steps))).toEqual(new Set([train.steps]));
  expect(Math.max(...log.map(({ learningRate }) => learningRate))).toBe(train.learningRate);
  expect(log.findIndex(({ translation }) => translation !== undefined)).toBe(train.ctcSteps);
});

test('takes at most 12 MB with its log', () => {
  const bytes = readdirSync(dir).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);
  expect(bytes).toBeLessThanOrEqual(12_000_000);
});
