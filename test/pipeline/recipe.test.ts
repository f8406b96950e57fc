/** Recipes that cannot be followed: one line that names file, key and remedy. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { PareError } from '../../lib/errors';
import { FileError } from '../../lib/files';
import {
  parseRecipe,
  readRecipe,
  recipeJsonSchema,
  RecipeError,
  runRecipe,
  SettingError,
} from '../../lib/pipeline';
import { tinyRecipe, type TinyRecipe } from './tiny-recipe';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-recipe-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const good = (): TinyRecipe => tinyRecipe('corpus', 'run');

function messageOf(text: string): string {
  try {
    parseRecipe(text, 'my.yaml');
  } catch (error) {
    expect(error).toBeInstanceOf(RecipeError);
    expect(error).toBeInstanceOf(PareError);
    const { message } = error as RecipeError;
    expect(message).not.toContain('\n');
    expect(message).toMatch(/^my\.yaml: /);
    return message;
  }
  throw new Error('the recipe was taken');
}

test('what is left out has its default, what is given stays', () => {
  const recipe = parseRecipe(stringify(good()), 'my.yaml');
  expect(recipe.corpus).toMatchObject({ train: 'train', dev: 'dev', test: ['test'] });
  expect(recipe.quantize).toEqual({
    blockSize: 64,
    doubleQuant: true,
    skip: [],
    lmHead: false,
    embeddings: false,
  });
  expect(recipe.importance).toMatchObject({ remove: 2, protectedLayers: [] });
  expect(recipe.heal).toMatchObject({ saveEvery: 2, learningRate: 1e-3 });
  expect(recipe.distill).toMatchObject({ minChrf: 0, lora: { r: 2, loraDropout: 0.1 } });
  const bare = { ...good(), evaluate: undefined };
  expect(parseRecipe(stringify(bare), 'my.yaml').evaluate).toEqual({ samples: 1000, seed: 12345 });
});

describe('settings in place of the recipe’s', () => {
  const read = (...set: string[]): ReturnType<typeof readRecipe> => {
    const file = join(dir, 'my.yaml');
    writeFileSync(file, `# why\n${stringify(good())}`);
    return readRecipe(file, set);
  };

  test('change, add and leave out; the text says what was run', () => {
    const { recipe, yaml } = read(
      'importance.remove=1',
      'distill.lora.targetModules=[q_proj, v_proj]',
      'title=Eight = eight',
      'languages.0=zh',
      'languages.1=',
      'heal=',
    );
    expect(recipe.importance!.remove).toBe(1);
    expect(recipe.distill!.lora.targetModules).toEqual(['q_proj', 'v_proj']);
    expect(recipe.title).toBe('Eight = eight');
    expect(recipe.languages).toEqual(['zh']);
    expect(recipe.heal).toBeUndefined();
    expect(yaml).toMatch(/^# why\n/);
    expect(parseRecipe(yaml, 'again')).toMatchObject({ importance: { remove: 1 } });
    expect(read().yaml).not.toBe(yaml);
  });

  test.each([
    ['importance.remove', /'importance.remove' sets nothing; give key=value/],
    ['=8', /sets nothing/],
    ['importance.remvoe=8', /importance: unknown key "remvoe"/],
    ['importance.remove=eight', /importance.remove: /],
    ['name.part=1', /cannot set name.part=1: /],
    ['languages=[de', /cannot set languages=\[de: /],
    ['heel=', /cannot set heel=: there is no heel to leave out/],
  ])('%s', (setting, message) => {
    expect(() => read(setting)).toThrow(SettingError);
    expect(() => read(setting)).toThrow(message);
    try {
      read(setting);
    } catch (error) {
      expect((error as Error).message).not.toContain('\n');
    }
  });
});

test('what is wrong in the file is no fault of the settings', () => {
  const file = join(dir, 'wrong.yaml');
  writeFileSync(file, stringify({ ...good(), surprise: 1 }));
  expect(() => readRecipe(file, ['importance.remove=1'])).toThrow(RecipeError);
  expect(() => readRecipe(file, ['importance.remove=1'])).not.toThrow(SettingError);
});

test('a part that was set can be changed further', () => {
  const file = join(dir, 'twice.yaml');
  writeFileSync(file, stringify(good()));
  const set = ['corpus={ path: x }', 'corpus.test=[a, b]'];
  expect(readRecipe(file, set).recipe.corpus).toMatchObject({ test: ['a', 'b'] });
});

test('a key that another part of the file refers to cannot be left out', () => {
  const file = join(dir, 'anchors.yaml');
  writeFileSync(file, 'heal: &training { batchSize: 8 }\ndistill: *training\n');
  expect(() => readRecipe(file, ['heal='])).toThrow(RecipeError);
  expect(() => readRecipe(file, ['heal='])).toThrow(/cannot set heal=: /);
});

test('a recipe is read without the addon', () => {
  const program = `require('./dist/pipeline/recipe').readRecipe('recipes/demo.yaml')`;
  const { status, stderr } = spawnSync(process.execPath, ['-e', program], {
    cwd: join(__dirname, '../..'),
    env: { ...process.env, PARE_ADDON: '/nowhere/pare.node' },
    encoding: 'utf8',
  });
  expect([status, stderr]).toEqual([0, '']);
});

const recipes = join(__dirname, '../../recipes');

test.each(readdirSync(recipes).filter((name) => name.endsWith('.yaml')))(
  'recipes/%s is a recipe, opens with its command and names its schema',
  (name) => {
    const path = join(recipes, name);
    const text = readFileSync(path, 'utf8');
    expect(() => parseRecipe(text, path)).not.toThrow();
    const [command, schema] = text.split('\n');
    expect(command).toContain(`pare run recipes/${name}`);
    expect(schema).toBe('# yaml-language-server: $schema=recipe.schema.json');
  },
);

test('the schema for editors is current: npm run schema', () => {
  const committed = readFileSync(join(recipes, 'recipe.schema.json'), 'utf8');
  expect(JSON.parse(committed)).toEqual(JSON.parse(JSON.stringify(recipeJsonSchema())));
});

test.each([
  ['de', 'chrf++'],
  ['zh', 'chrf'],
])('the paper’s hyperparameters for %s', (language, criterion) => {
  const { recipe } = readRecipe(join(recipes, `paper-${language}.yaml`));
  const full = {
    ...{ bf16: true, batchSize: 4, learningRate: 1e-5, schedule: 'cosine', warmupSteps: 0 },
    weightDecay: 0.001,
  };
  expect(recipe).toMatchObject({
    languages: [language],
    teacher: { train: { ...full, epochs: 3 } },
    importance: { remove: 8, criterion, method: 'search', protectedLayers: [] },
    heal: { ...full, epochs: 4, teacherTexts: true },
    quantize: { blockSize: 64, doubleQuant: true, skip: [], lmHead: false, embeddings: false },
    distill: {
      ...{ ...full, batchSize: 8, weightDecay: 0, minChrf: 0 },
      lora: {
        ...{ r: 64, loraAlpha: 128, useRslora: true, loraDropout: 0 },
        targetModules: 'all-linear',
      },
      extra: [{ split: 'train', limit: 100_000 }],
    },
  });
  // AdamW, as it is without a word.
  expect(recipe.teacher.train!.optimizer).toBeUndefined();
  expect(recipe.teacher.train!.lora).toBeUndefined();
});

test('paths to what is read are taken from the folder of the recipe', () => {
  const file = join(dir, 'r.yaml');
  const teacher = { checkpoint: 'a', log: 'b/log.jsonl' };
  writeFileSync(file, stringify({ ...good(), teacher, corpus: { path: '../c' } }));
  const { recipe, yaml } = readRecipe(file);
  expect(recipe.teacher).toMatchObject({
    checkpoint: join(dir, 'a'),
    log: join(dir, 'b/log.jsonl'),
  });
  expect(recipe.corpus.path).toBe(join(dir, '../c'));
  expect(recipe.output).toBe('run');
  expect(yaml).toBe(readFileSync(file, 'utf8'));
});

type Change = (recipe: TinyRecipe & Record<string, unknown>) => unknown;

test.each<[string, Change, RegExp]>([
  ['an unknown key', (r) => (r.pruning = 1), /: unknown key "pruning"; known are name, title, /],
  [
    'an unknown key below',
    (r) => (r.teacher.train.lerningRate = 1),
    /: teacher\.train: unknown key "lerningRate"; did you mean "learningRate"\?; see/,
  ],
  [
    'an unknown key of lora',
    (r) => ((r.distill.lora as Record<string, unknown>).alpha = 1),
    /distill\.lora: unkn/,
  ],
  [
    'text for a number',
    (r) => (r.importance.remove = 'two'),
    /: importance\.remove: must be a number, not "two"; see/,
  ],
  [
    'a fraction of a layer',
    (r) => (r.importance.remove = 1.5),
    /: importance\.remove: must be a whole number, not 1\.5; see/,
  ],
  [
    'no layer',
    (r) => (r.importance.remove = 0),
    /: importance\.remove: must be above 0, not 0; see/,
  ],
  [
    'a list for a text',
    (r) => (r.name = ['a'] as never),
    /: name: must be a text, not a list; see/,
  ],
  [
    'a share above 1',
    (r) => (r.heal.betas = [0.9, 2]),
    /: heal\.betas\.1: must be at most 1, not 2/,
  ],
  ['one beta', (r) => (r.heal.betas = [0.9]), /: heal\.betas: must have at least 2 entries; see/],
  ['yes for true', (r) => (r.heal.bf16 = 'yes'), /: heal\.bf16: must be true or false, not "yes"/],
  ['another dtype', (r) => (r.heal.weights = 'bf16'), /: heal\.weights: .*float32.*bfloat16/],
  [
    'nothing for a part',
    (r) => (r.heal = null as never),
    /: heal: must be keys with values, not noth/,
  ],
  [
    'a variant that is no name',
    (r) => (r.variants = { 'a b': {} }),
    /: variants.*: give a name to/,
  ],
  ['a name that is a path', (r) => (r.name = 'a/b'), /: name: letters, digits, dots and dashes/],
  ['a learning rate of 0', (r) => (r.heal.learningRate = 0), /: heal\.learningRate: /],
  [
    'a missing key',
    (r) => delete (r.heal as never)['batchSize'],
    /: heal\.batchSize: is missing; give a number; see/,
  ],
  [
    'a mistyped key that is then missing',
    (r) => {
      delete (r.heal as never)['batchSize'];
      r.heal.bathcSize = 8;
    },
    /: heal: unknown key "bathcSize"; did you mean "batchSize"\?/,
  ],
  [
    'no teacher',
    (r) => delete (r as never)['teacher'],
    /: teacher: is missing; give keys with val/,
  ],
  ['no language', (r) => (r.languages = []), /: languages: must have at least one entry; see/],
  ['a language twice', (r) => (r.languages = ['de', 'de']), /: languages: names a language twice/],
  [
    'steps of a loss without weight',
    (r) => (r.teacher.train.ctcSteps = 2),
    /: teacher\.train\.ctcSteps: the CTC loss, .*: give ctcWeight/,
  ],
  [
    'healing between removals of nothing',
    (r) => {
      delete (r as never)['importance'];
      r.heal.every = 1;
    },
    /: heal\.every: no layer is removed .*: add importance, or leave this out/,
  ],
  [
    'another language',
    (r) => (r.languages = ['fr']),
    /: languages\.0: must be one of "de", "zh", not "fr"; see/,
  ],
  ['an unknown block size', (r) => (r.quantize.blockSize = 100), /: quantize\.blockSize: .*64/],
  ['an unknown criterion', (r) => (r.importance.criterion = 'comet'), /: importance\.criterion: /],
  [
    'both corpora',
    (r) => (r.corpus.demo = {}),
    /: corpus: give either path, hub or demo; see recipes\/ for examples$/,
  ],
  ['no corpus', (r) => (r.corpus = {}), /: corpus: give either path, hub or demo/],
  [
    'distillation over weights of full precision',
    (r) => delete (r as never)['quantize'],
    /: distill: distill trains an adapter over a 4-bit base: it needs quantize/,
  ],
  [
    'two teachers',
    (r) => ((r.teacher as never as Record<string, string>).checkpoint = 'x'),
    /: teacher: give either checkpoint or random/,
  ],
  [
    'a random start without training',
    (r) => delete (r.teacher as never)['train'],
    /: teacher: a random start needs train/,
  ],
])('%s', (_, change, expected) => {
  const recipe = good() as TinyRecipe & Record<string, unknown>;
  change(recipe);
  expect(messageOf(stringify(recipe))).toMatch(expected);
});

test.each<[string, string, RegExp]>([
  ['an open bracket', 'name: [a\nother: b', /^my\.yaml: not valid YAML: .+ at line \d+[^:]*$/],
  ['two colons', 'a: b: c', /^my\.yaml: not valid YAML: .+ at line 1, column \d+$/],
  ['a tab', 'a:\n\tb: 1', /^my\.yaml: not valid YAML: .*line 2/],
  ['a key twice', 'name: a\nname: b', /^my\.yaml: not valid YAML: .*unique.* at line 2/],
  ['an unknown alias', 'name: *nothing', /^my\.yaml: not valid YAML: .*nothing/],
  ['an alias of what it is in', 'name: &a\n  b: *a', /^my\.yaml: name: must be a text, not keys/],
  ['a list that holds itself', 'name: &a [*a, *a]', /^my\.yaml: name: must be a text, not a list/],
  [
    'aliases without end',
    `a: &a [x]\n${Array.from('abcdefgh', (c, i) => `${'bcdefghi'[i]}: &${'bcdefghi'[i]} [${`*${c},`.repeat(9)}]`).join('\n')}`,
    /^my\.yaml: not valid YAML: Excessive alias count/,
  ],
  ['brackets without end', `name: ${'['.repeat(20_000)}`, /^my\.yaml: not valid YAML: nested too/],
  ['nothing', '', /^my\.yaml: must be keys with values, not nothing/],
  ['a list', '- a\n- b', /^my\.yaml: must be keys with values, not a list/],
])('YAML: %s', (_, text, expected) => {
  expect(messageOf(text)).toMatch(expected);
});

test('a recipe that is not there, or a folder', async () => {
  const missing = join(dir, 'none.yaml');
  await expect(runRecipe(missing)).rejects.toThrow(FileError);
  await expect(runRecipe(missing)).rejects.toThrow(
    `cannot read ${missing}: no such file or folder`,
  );
  await expect(runRecipe(dir)).rejects.toThrow(`cannot read ${dir}: it is a folder, not a file`);
  expect(readdirSync(dir)).toEqual([]);
});

test('a bad recipe makes no run folder', async () => {
  const file = join(dir, 'bad.yaml');
  writeFileSync(file, stringify({ ...good(), output: join(dir, 'run'), surprise: true }));
  await expect(runRecipe(file)).rejects.toThrow(`${file}: unknown key "surprise"`);
  expect(readdirSync(dir)).toEqual(['bad.yaml']);
});
