/** Plans: shapes that are known, and peaks that are measured. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { planRecipe, type Plan } from '../../lib/pipeline';
import { publicShapes } from '../../lib/qwen2-audio/public-shapes';
import { tinyCorpus } from './tiny-corpus';
import { tinyRecipe, tinyShape, writeRecipe } from './tiny-recipe';

jest.setTimeout(900_000);
const execute = promisify(execFile);

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-plan-'));
  tinyCorpus(join(dir, 'corpus'));
  mkdirSync(join(dir, 'base'));
  writeFileSync(join(dir, 'base', 'config.json'), JSON.stringify(publicShapes['qwen2-audio-7b']));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const stageOf = (plan: Plan, name: string): Plan['stages'][number] =>
  plan.stages.find((stage) => stage.name === name)!;

test('the paper’s models: parameters and bytes as they are known', async () => {
  const base = join(dir, 'base');
  const paper = join(__dirname, '../../recipes/paper-de.yaml');
  const set = [`teacher.checkpoint=${base}`, 'corpus.path=/nowhere'];
  const plan = await planRecipe(paper, { set });
  expect(plan.stages.map(({ name }) => name)).toEqual([
    ...['teacher', 'evaluation-teacher', 'distilled', 'importance', 'pruned', 'evaluation-pruned'],
    ...['healed', 'evaluation-healed', 'quantized', 'evaluation-quantized'],
    ...['student', 'evaluation-student'],
  ]);
  const teacher = stageOf(plan, 'teacher');
  expect(teacher).toMatchObject({ parameters: 8_397_094_912, trained: 8_397_094_912 });
  expect(teacher.disk / 1e9).toBeCloseTo(16.79, 2);
  expect(teacher.memory.optimizer).toBe(8 * 8_397_094_912);
  expect(stageOf(plan, 'importance').work).toBe('212 candidates');
  expect(stageOf(plan, 'healed').parameters).toBe(6_777_929_728);
  expect(stageOf(plan, 'quantized').disk / 1e9).toBeCloseTo(5.41, 1);
  const whole = await planRecipe(paper, { set: [...set, 'importance=', 'heal='] });
  expect(stageOf(whole, 'quantized').disk / 1e9).toBeCloseTo(6.24, 1);
  // 2.41 % with the adapter counted in.
  const { trained, parameters } = stageOf(whole, 'student');
  expect((100 * trained) / (trained + parameters)).toBeCloseTo(2.41, 1);
  expect(plan.assumed).toEqual([
    expect.stringContaining('/nowhere is not there'),
    expect.stringContaining('distill.extra names is not there'),
  ]);
});

test('full fine-tuning of the paper’s model fits into 80 GB, in bfloat16', async () => {
  const paper = join(__dirname, '../../recipes/paper-de.yaml');
  const given = [`teacher.checkpoint=${join(dir, 'base')}`, 'corpus.path=/nowhere'];
  const of = async (...more: string[]): Promise<Plan['stages'][number]> =>
    stageOf(await planRecipe(paper, { set: [...given, ...more] }), 'teacher');
  const lean = ['teacher.train.weights=bfloat16', 'teacher.train.optimizer=adamw8bit'];
  const { memory, peak, parameters, workDisk } = await of(...lean);
  expect(memory).toMatchObject({
    weights: 2 * parameters,
    gradients: 2 * parameters,
    optimizer: 2 * parameters,
  });
  expect(workDisk).toBe(4 * parameters);
  // Four clips of 30 s together, activations checkpointed.
  expect(peak).toBeLessThan(58e9);
  // Sums over micro-batches are float32.
  const accumulated = await of(...lean, 'teacher.train.microBatchSize=1');
  expect(accumulated.memory.gradients).toBe(4 * parameters);
  expect(accumulated.peak).toBeLessThan(73e9);
  // Without one of both it does not.
  expect((await of(lean[0]!)).peak).toBeGreaterThan(80e9);
  expect((await of(lean[1]!)).peak).toBeGreaterThan(80e9);
});

test('8-bit moments and checkpointing take less', async () => {
  const file = writeRecipe(dir, tinyRecipe(join(dir, 'corpus'), join(dir, 'none')));
  const of = async (...set: string[]): Promise<Plan['stages'][number]> =>
    stageOf(await planRecipe(file, { set }), 'healed');
  const plain = await of();
  expect((await of('heal.optimizer=adamw8bit')).memory.optimizer).toBe(plain.memory.optimizer! / 4);
  expect((await of('heal.gradientCheckpointing=true')).peak).toBeLessThan(plain.peak);
  expect(plain.seconds).toBeUndefined();
  expect(existsSync(join(dir, 'none'))).toBe(false);
});

test('gradients are summed in float32 where a step has several micro-batches', async () => {
  const file = writeRecipe(dir, tinyRecipe(join(dir, 'corpus'), join(dir, 'none')));
  const bytesOfEach = async (...set: string[]): Promise<number> => {
    const plan = await planRecipe(file, { set: ['heal.weights=bfloat16', ...set] });
    const { memory, trained } = stageOf(plan, 'healed');
    return memory.gradients! / trained;
  };
  expect(await bytesOfEach('heal.batchSize=8', 'heal.microBatchSize=4')).toBe(4);
  // A batch larger than the corpus is one micro-batch where the corpus is no larger than that.
  expect(await bytesOfEach('heal.batchSize=1000', 'heal.microBatchSize=500')).toBe(2);
});

test('a checkpoint that is not there', async () => {
  const recipe = { ...tinyRecipe('c', 'r'), teacher: { checkpoint: 'none' } };
  const file = join(dir, 'none.yaml');
  writeFileSync(file, stringify(recipe));
  await expect(planRecipe(file)).rejects.toThrow(
    /none has no config\.json, from which a plan is made/,
  );
});

test('layers that cannot be removed', async () => {
  const file = writeRecipe(dir, tinyRecipe(join(dir, 'corpus'), join(dir, 'none')));
  await expect(planRecipe(file, { set: ['importance.remove=4'] })).rejects.toThrow(
    `${file}: 4 of 5 decoder layers are to be removed, but only 3 may be; `,
  );
});

/** Full training, without and with checkpointing; the second is four times the first. */
const sizes: { hidden: number; layers: number; batch: number; train: object }[] = [
  { hidden: 32, layers: 5, batch: 8, train: {} },
  { hidden: 512, layers: 8, batch: 24, train: {} },
  { hidden: 512, layers: 8, batch: 24, train: { gradientCheckpointing: true } },
  { hidden: 896, layers: 10, batch: 8, train: {} },
  { hidden: 896, layers: 10, batch: 8, train: { weights: 'bfloat16', optimizer: 'adamw8bit' } },
];

test.each(sizes)('%j: the peak that is measured', async ({ hidden, layers, batch, train }) => {
  const name = `measured-${hidden}-${Object.keys(train).join('-')}`;
  const recipe = tinyRecipe(join(dir, 'corpus'), join(dir, name));
  const text = {
    ...tinyShape.text,
    ...{ hidden_size: hidden, intermediate_size: 3 * hidden, num_hidden_layers: layers },
    ...{ num_attention_heads: 8, num_key_value_heads: 8 },
  };
  const training = { batchSize: batch, steps: 2, learningRate: 1e-4, saveEvery: 100 };
  const file = writeRecipe(dir, {
    ...{ name: recipe.name, output: recipe.output, corpus: recipe.corpus, seed: 3 },
    ...{ languages: ['de', 'zh'], generation: { maxNewTokens: 4, batchSize: 4 } },
    teacher: {
      random: { ...tinyShape, text },
      train: { ...training, ...train },
    },
  });
  const plan = await planRecipe(file);
  const { stdout } = await execute(process.execPath, [join(__dirname, 'child.js'), file]);
  const { peak: measured } = JSON.parse(stdout) as { peak: number };
  const checkpoint = join(recipe.output, 'teacher', 'model', 'model.safetensors');
  const bytes = statSync(checkpoint).size;
  expect(plan.peak / measured).toBeGreaterThan(0.85);
  expect(plan.peak / measured).toBeLessThan(1.15);
  // But for the header, which counts where a model is tiny.
  expect(stageOf(plan, 'teacher').disk / bytes).toBeCloseTo(1, 1);
});
