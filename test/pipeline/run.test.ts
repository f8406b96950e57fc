/** A whole recipe, from a random teacher to the report. */
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { evaluateModel } from '../../lib/compress';
import { PromptSet } from '../../lib/compress/translate';
import { openCorpus, type Utterance } from '../../lib/data';
import { Linear4bit } from '../../lib/nf4';
import { runRecipe, type RunOptions, type RunResult } from '../../lib/pipeline';
import { openModel } from '../../lib/pipeline/models';
import { loadModel, readConfig } from '../../lib/qwen2-audio';
import { loadSafetensors } from '../../lib/torch';
import { Features } from '../../lib/train/examples';
import { artifacts, digests, leftovers, numbers } from './folders';
import { tinyCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe, type TinyRecipe } from './tiny-recipe';

jest.setTimeout(900_000);

const stages = [
  ...['teacher', 'evaluation-teacher', 'importance', 'pruned', 'evaluation-pruned'],
  ...['healed', 'evaluation-healed', 'quantized', 'evaluation-quantized'],
  ...['distilled', 'student', 'evaluation-student'],
];

let dir: string;
let recipe: TinyRecipe;
let splits: Record<'train' | 'dev' | 'test', Utterance[]>;
let first: RunResult;
let made: string[];

/** Runs the recipe; gives the stages that were made and not taken. */
async function run(options: RunOptions = {}): Promise<{ result: RunResult; remade: string[] }> {
  const remade: string[] = [];
  const result = await runRecipe(writeRecipe(dir, recipe), {
    ...options,
    onStage: (name, { reused }) => void (reused || remade.push(name)),
  });
  return { result, remade };
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pare-run-'));
  splits = tinyCorpus(join(dir, 'corpus'));
  recipe = tinyRecipe(join(dir, 'corpus'), join(dir, 'run'));
  const seen: string[][] = [];
  const onProgress = (): void => void seen.push(artifacts(join(dir, 'run')));
  ({ result: first, remade: made } = await run({ onProgress }));
  // Under its final name an artifact was complete whenever anybody looked.
  expect(seen.length).toBeGreaterThan(50);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test('makes every stage, in order, and leaves nothing else', () => {
  expect(made).toEqual(stages);
  expect(artifacts(first.dir)).toEqual([...stages].sort());
  expect(leftovers(first.dir)).toEqual([]);
  expect(first.dir).toBe(join(dir, 'run'));
  expect(first.student).toBe(join(dir, 'run', 'student', 'model'));
});

test('the pruned model is the teacher without the layers that the search removed', () => {
  const search = JSON.parse(
    readFileSync(join(first.dir, 'importance', 'importance.json'), 'utf8'),
  ) as { kept: number[]; removed: number[] };
  expect(search.kept).toHaveLength(3);
  const tensors = (stage: string): Map<string, number[]> => {
    const path = join(first.dir, stage, 'model', 'model.safetensors');
    const values = [...loadSafetensors(path)].map(([name, tensor]) => {
      const numbers = tensor.to('float32').toArray() as number[];
      tensor.dispose();
      return [name, numbers] as const;
    });
    return new Map(values);
  };
  const [teacher, pruned] = [tensors('teacher'), tensors('pruned')];
  const expected = [...teacher].flatMap(([name, values]) => {
    const layer = /^(language_model\.model\.layers\.)(\d+)(.*)$/.exec(name);
    if (layer === null) return [[name, values] as const];
    const at = search.kept.indexOf(Number(layer[2]));
    return at < 0 ? [] : [[`${layer[1]}${at}${layer[3]}`, values] as const];
  });
  expect(pruned).toEqual(new Map(expected));
});

test('the student is a 4-bit checkpoint with an adapter, and says what the report says', async () => {
  const bare = loadModel(first.student);
  const linear = [...bare.namedModules()].filter(([, module]) => module instanceof Linear4bit);
  expect(bare.layers).toHaveLength(3);
  expect(linear).toHaveLength(6 + 1 + 3 * 7);
  for (const stage of ['teacher', 'pruned', 'healed', 'quantized', 'student']) {
    const { targetLanguages } = readConfig(join(first.dir, stage, 'model'));
    expect(targetLanguages).toEqual(recipe.languages);
  }
  bare.dispose();
  using opened = openModel(first.student);
  const { model, processor } = opened;
  const features = new Features(await openCorpus(join(dir, 'corpus')), processor);
  const [de] = await evaluateModel(model, features, splits.test, ['de'], {
    maxNewTokens: 12,
    batchSize: 1,
    samples: 100,
    seed: 7,
  });
  const reported = first.report.models.at(-1)!.evaluations[0]!;
  const { bleu } = reported.scores;
  expect(reported).toMatchObject({ language: 'de', testSet: 'test', segments: 6 });
  expect(bleu).toMatchObject({
    value: de!.scores.bleu.score,
    signature: de!.scores.bleu.signature,
  });
  expect(bleu!.interval).toEqual({ low: de!.scores.bleu.low, high: de!.scores.bleu.high });
  const shown = first.report.examples.filter(({ language }) => language === 'de');
  expect(shown.map(({ student }) => student)).toEqual(de!.texts);
});

test('the report has every model, curve and count', () => {
  const { report } = first;
  const json = JSON.parse(readFileSync(join(first.dir, 'report.json'), 'utf8')) as unknown;
  expect(json).toEqual(JSON.parse(JSON.stringify(report)));
  // A report is passed on: outside of the recipe, it does not tell about folders of this machine.
  expect(JSON.stringify({ ...report, recipe: '' })).not.toContain(dir);
  const roles = report.models.map(({ name, role }) => `${name} ${role}`);
  const names = ['teacher teacher', 'pruned step', 'healed step', 'quantized step'];
  expect(roles).toEqual([...names, 'student student']);
  expect(report.models.map(({ size }) => size.decoderLayers)).toEqual([5, 3, 3, 3, 3]);
  for (const { name, size, evaluations } of report.models) {
    expect(evaluations.map(({ language }) => language)).toEqual(['de', 'zh']);
    const model = join(first.dir, name, 'model');
    const files = Object.keys(digests(model)).filter((file) => file.endsWith('.safetensors'));
    const bytes = files.reduce((sum, file) => sum + statSync(join(model, file)).size, 0);
    expect(size.bytes).toBe(bytes);
  }
  const [teacher, pruned, , quantized] = report.models.map(({ size }) => size);
  expect(pruned!.parameters).toBeLessThan(teacher!.parameters);
  expect(quantized!.parameters).toBe(pruned!.parameters);
  expect(quantized!.storedElements).toBeLessThan(pruned!.storedElements);
  expect(report.curves.map(({ stage, steps }) => [stage, steps])).toEqual([
    ['teacher', 6],
    ['healing', 4],
    ['QLoRA', 5],
  ]);
  expect(report.importance[0]).toMatchObject({ layers: 5, protectedLayers: [0, 4] });
  expect(report.importance[0]!.iterations.map((i) => i.candidates.length)).toEqual([3, 2]);
  expect(report.protocol.splits.map(({ name, segments }) => [name, segments])).toEqual([
    ['train', 24],
    ['dev', 6],
    ['test', 6],
  ]);
  const html = readFileSync(first.reportPath, 'utf8');
  expect(html).toMatch(/^<!doctype html>/i);
  for (const { name } of report.models) expect(html).toContain(name);
});

test('the second run takes every stage as it is', async () => {
  const before = digests(first.dir);
  const { result, remade } = await run();
  expect(remade).toEqual([]);
  expect(numbers(result.report)).toEqual(numbers(first.report));
  expect(result.report.models).toEqual(first.report.models);
  const after = digests(first.dir);
  for (const file of ['report.json', 'report.html']) {
    delete before[file];
    delete after[file];
  }
  expect(after).toEqual(before);
});

const after = (stage: string): string[] => stages.slice(stages.indexOf(stage));
const student = ['student', 'evaluation-student'];
const quantized = ['quantized', 'evaluation-quantized'];

// Each change stays for the next.
test.each<[string, (recipe: TinyRecipe) => unknown, string[]]>([
  ['the title', (r) => (r.title = 'Other'), []],
  ['names of test sets', (r) => (r.corpus.testNames = { test: 'all' }), []],
  ['the learning rate of QLoRA', (r) => (r.distill.learningRate = 2e-3), student],
  ['the filter', (r) => (r.distill.minChrf = 1), ['distilled', ...student]],
  ['the block size', (r) => (r.quantize.blockSize = 128), [...quantized, ...student]],
  ['healing', (r) => (r.heal.steps = 2), ['healed', 'evaluation-healed', ...quantized, ...student]],
  [
    'the bootstrap',
    (r) => (r.evaluate.seed = 8),
    stages.filter((name) => name.startsWith('evaluation-')),
  ],
  [
    'how many layers go',
    (r) => (r.importance.remove = 1),
    after('importance').filter((name) => name !== 'distilled'),
  ],
])('a change of %s remakes what depends on it and nothing else', async (_, change, expected) => {
  change(recipe);
  const { result, remade } = await run();
  expect(remade).toEqual(expected);
  expect(leftovers(result.dir)).toEqual([]);
  expect(artifacts(result.dir)).toEqual([...stages].sort());
});

test('a shorter chain ends in its last model', async () => {
  const short = { ...recipe, output: join(dir, 'short') } as Partial<TinyRecipe> & TinyRecipe;
  delete (short as Partial<TinyRecipe>).distill;
  delete (short as Partial<TinyRecipe>).importance;
  delete (short as Partial<TinyRecipe>).heal;
  short.teacher = {
    checkpoint: join(first.dir, 'teacher', 'model'),
    log: join(first.dir, 'teacher', 'log.jsonl'),
  } as unknown as TinyRecipe['teacher'];
  const result = await runRecipe(writeRecipe(dir, short, 'short.yaml'));
  expect(artifacts(result.dir)).toEqual([
    'evaluation-quantized',
    'evaluation-teacher',
    'quantized',
  ]);
  expect(result.student).toBe(join(dir, 'short', 'quantized', 'model'));
  expect(result.report.models.map(({ role }) => role)).toEqual(['teacher', 'student']);
  expect(result.report.models[0]!.evaluations[0]!.scores).toEqual(
    (await run()).result.report.models[0]!.evaluations[0]!.scores,
  );
  expect(result.report.curves.map(({ stage }) => stage)).toEqual(['teacher']);
});

test('a search for more layers goes on from the trace of the one before', async () => {
  const output = join(dir, 'longer');
  const teacher = { checkpoint: join(first.dir, 'teacher', 'model') };
  const short = { ...recipe, output, teacher, heal: undefined, quantize: undefined };
  const traceOf = async (remove: number): Promise<string[]> => {
    const settings = { ...short, distill: undefined, importance: { ...recipe.importance, remove } };
    await runRecipe(writeRecipe(dir, settings, 'longer.yaml'));
    return readFileSync(join(output, 'importance', 'trace.jsonl'), 'utf8')
      .trim()
      .split('\n');
  };
  const one = await traceOf(1);
  const spy = jest.spyOn(PromptSet.prototype, 'translate');
  const two = await traceOf(2);
  // Two languages: those of the new candidates, and those of the test of the new model.
  expect(spy).toHaveBeenCalledTimes(2 * (two.length - one.length) + 2);
  spy.mockRestore();
  expect(two.slice(0, one.length)).toEqual(one);
  expect(two.length).toBeGreaterThan(one.length);
});

test('a sound file that was replaced is another corpus', async () => {
  const corpus = join(dir, 'other-corpus');
  cpSync(join(dir, 'corpus'), corpus, { recursive: true });
  const teacher = { checkpoint: join(first.dir, 'teacher', 'model') };
  const settings = { ...recipe, output: join(dir, 'other'), corpus: { path: corpus }, teacher };
  for (const key of ['distill', 'importance', 'heal', 'quantize']) delete (settings as never)[key];
  const remade = async (): Promise<string[]> => {
    const names: string[] = [];
    const onStage = (name: string, { reused }: { reused: boolean }): void =>
      void (reused || names.push(name));
    await runRecipe(writeRecipe(dir, settings, 'other.yaml'), { onStage });
    return names;
  };
  expect(await remade()).toEqual(['evaluation-teacher']);
  expect(await remade()).toEqual([]);
  const [one, two] = splits.test.map(({ audio }) => join(corpus, audio));
  cpSync(one!, two!);
  expect(await remade()).toEqual(['evaluation-teacher']);
});

test('a changed checkpoint is another teacher', async () => {
  const checkpoint = join(dir, 'checkpoint');
  const short = { ...recipe, output: join(dir, 'given'), teacher: { checkpoint } };
  for (const key of ['distill', 'importance', 'heal', 'quantize']) delete (short as never)[key];
  cpSync(join(first.dir, 'teacher', 'model'), checkpoint, { recursive: true });
  const remade = async (): Promise<string[]> => {
    const names: string[] = [];
    const onStage = (name: string, { reused }: { reused: boolean }): void =>
      void (reused || names.push(name));
    await runRecipe(writeRecipe(dir, short, 'given.yaml'), { onStage });
    return names;
  };
  expect(await remade()).toEqual(['evaluation-teacher']);
  expect(await remade()).toEqual([]);
  const file = join(checkpoint, 'generation_config.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace('{', '{ "max_length": 20,'));
  expect(await remade()).toEqual(['evaluation-teacher']);
});
