/** What a run is given wrongly: one line that names it, and nothing half written. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AudioError, encodeWav } from '../../lib/audio';
import { CompressionError } from '../../lib/compress';
import { CorpusError, type Utterance } from '../../lib/data';
import { PareError } from '../../lib/errors';
import { LoraError } from '../../lib/lora';
import { RecipeError, runRecipe, RunFolderError } from '../../lib/pipeline';
import { CheckpointError } from '../../lib/qwen2-audio';
import { memory } from '../../lib/torch';
import { TrainingError } from '../../lib/train/error';
import { artifacts } from './folders';
import { tinyCorpus, writeCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe, type TinyRecipe } from './tiny-recipe';

jest.setTimeout(600_000);

let dir: string;
let run: string;
let splits: Record<'train' | 'dev' | 'test', Utterance[]>;
let recipe: TinyRecipe;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-bad-'));
  run = join(dir, 'run');
  splits = tinyCorpus(join(dir, 'corpus'));
  recipe = tinyRecipe(join(dir, 'corpus'), run);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** The one line that a run ends with. */
async function failure(
  kind: new (...args: never[]) => PareError,
  settings: Record<string, unknown> = recipe,
): Promise<string> {
  const before = memory().handles;
  const error: unknown = await runRecipe(writeRecipe(dir, settings)).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(kind);
  expect(error).toBeInstanceOf(PareError);
  expect((error as PareError).message).not.toContain('\n');
  expect(memory().handles).toBeLessThanOrEqual(before);
  return (error as PareError).message;
}

describe('the corpus', () => {
  afterEach(() => expect(artifacts(run)).toEqual([]));
  const corpus = (): string => join(dir, 'corpus');

  test('is not there', async () => {
    recipe.corpus.path = join(dir, 'nowhere');
    expect(await failure(CorpusError)).toBe(
      `${join(dir, 'nowhere')} is neither a folder nor a name on the hub (owner/name); give the folder of a corpus`,
    );
  });

  test('lacks a split', async () => {
    recipe.corpus.dev = 'validation';
    expect(await failure(CorpusError)).toBe(
      `${corpus()} has no split 'validation'; it has train, dev, test`,
    );
  });

  test('lacks the file of a split', async () => {
    rmSync(join(corpus(), 'dev.jsonl'));
    expect(await failure(CorpusError)).toMatch(/dev\.jsonl does not exist, but corpus\.json names/);
  });

  test('has an empty reference', async () => {
    splits.train[2]!.translations.zh = ' ';
    writeCorpus(corpus(), splits);
    expect(await failure(CorpusError)).toBe(
      `${join(corpus(), 'train.jsonl')} line 3: translations.zh: must not be empty`,
    );
  });

  test('lacks a sound file', async () => {
    rmSync(join(corpus(), splits.test[1]!.audio));
    expect(await failure(CorpusError)).toMatch(
      /test\.jsonl line 2: .*\.wav does not exist; restore/,
    );
  });

  test('has splits that share a group', async () => {
    splits.dev[0]!.group = splits.train[4]!.group;
    writeCorpus(corpus(), splits);
    const [train, dev] = [splits.train[4]!, splits.dev[0]!];
    expect(await failure(CorpusError)).toBe(
      `splits 'train' and 'dev' overlap: ${train.id} and ${dev.id} have the same group, ` +
        `'${train.group}'; move one of them`,
    );
  });

  test('is to be tested on what chooses the layers', async () => {
    recipe.corpus.test = ['dev'];
    expect(await failure(RecipeError)).toBe(
      `${join(dir, 'tiny.yaml')}: corpus: train, dev and test must be different splits; name others`,
    );
  });

  test('has an empty split', async () => {
    writeCorpus(corpus(), { ...splits, dev: [] });
    expect(await failure(CorpusError)).toBe(
      `${corpus()}: the split 'dev' has no utterance; the recipe uses it`,
    );
  });
});

describe('the teacher', () => {
  test.each([undefined, { steps: 1, batchSize: 4, learningRate: 1e-3 }])(
    'is not there (training %p)',
    async (train) => {
      const checkpoint = join(dir, 'teacher');
      const settings = { ...recipe, teacher: { checkpoint, train } };
      expect(await failure(RecipeError, settings)).toBe(
        `${join(dir, 'tiny.yaml')}: teacher.checkpoint: ${checkpoint} is not there; ` +
          "paths are taken from the recipe's folder",
      );
      expect(artifacts(run)).toEqual([]);
    },
  );

  test('is no checkpoint', async () => {
    const checkpoint = join(dir, 'teacher');
    mkdirSync(checkpoint);
    const settings = { ...recipe, teacher: { checkpoint } };
    expect(await failure(CheckpointError, settings)).toBe(
      `${checkpoint} has no config.json; give the folder of a checkpoint`,
    );
    expect(artifacts(run)).toEqual([]);
  });

  test('lies in a folder below, as a run keeps it', async () => {
    const checkpoint = join(dir, 'teacher');
    mkdirSync(join(checkpoint, 'model'), { recursive: true });
    writeFileSync(join(checkpoint, 'model', 'config.json'), '{}');
    const settings = { ...recipe, teacher: { checkpoint } };
    expect(await failure(CheckpointError, settings)).toBe(
      `${checkpoint} has no config.json; give ${join(checkpoint, 'model')}`,
    );
  });

  test('is made by the run that it is for', async () => {
    const checkpoint = join(dir, 'teacher');
    const madeBy = join(dir, 'tiny.yaml');
    const file = writeRecipe(dir, { ...recipe, teacher: { checkpoint, madeBy } });
    await expect(runRecipe(file, { fromScratch: true })).rejects.toThrow(
      `${file}: teacher.madeBy: ${madeBy} has the same output, ${run}: the run would wait for itself`,
    );
    const settings = { ...recipe, teacher: { checkpoint: join(run, 'student', 'model') } };
    expect(await failure(RecipeError, settings)).toBe(
      `${file}: teacher.checkpoint: ${join(run, 'student', 'model')} lies in the output of this ` +
        'very recipe; choose another output',
    );
    expect(artifacts(run)).toEqual([]);
  });

  test('has fewer layers than are to be removed', async () => {
    recipe.importance.remove = 4;
    // Before the corpus is looked at, which may first have to be made.
    recipe.corpus.path = join(dir, 'nowhere');
    expect(await failure(CompressionError)).toBe(
      `${join(dir, 'tiny.yaml')}: 4 of 5 decoder layers are to be removed, but only 3 may be; ` +
        'remove fewer or protect fewer',
    );
    // Known from the recipe alone: nothing was trained for it.
    expect(artifacts(run)).toEqual([]);
  });

  test.each([
    [['q_prog'], 'no linear layer matches targetModules ["q_prog"]; near names: q_proj'],
    ['(', 'targetModules "(" is no regular expression'],
  ])('has no layers for the adapter: %p', async (targetModules, message) => {
    Object.assign(recipe.distill.lora as object, { targetModules });
    expect(await failure(LoraError)).toContain(`${join(dir, 'tiny.yaml')}: LoRA: ${message}`);
    expect(artifacts(run)).toEqual([]);
  });

  test('has no layer that quantisation is to skip', async () => {
    recipe.quantize.skip = ['o_proj', 'nonsense'];
    expect(await failure(CompressionError)).toContain(
      `${join(dir, 'tiny.yaml')}: quantize: skip names "nonsense", which is no linear layer`,
    );
    expect(artifacts(run)).toEqual([]);
  });

  test('diverges', async () => {
    Object.assign(recipe.teacher.train, { learningRate: 1e30, schedule: 'constant' });
    expect(await failure(TrainingError)).toMatch(
      /(loss|gradient).* at step \d+; lower the learning rate \(1e\+30\)/,
    );
    expect(artifacts(run)).toEqual([]);
  });
});

test.each([['klingon'], ['xx'], ['fr'], [5]])('an unknown language, %p', async (language) => {
  expect(await failure(RecipeError, { ...recipe, languages: [language] })).toMatch(
    /tiny\.yaml: languages\.0: must be one of "de", "zh", not /,
  );
});

describe('sounds', () => {
  const replace = (bytes: Uint8Array): string => {
    const path = join(dir, 'corpus', splits.test[1]!.audio);
    writeFileSync(path, bytes);
    return path;
  };
  /** A wave file of float32 samples. */
  const floats = (samples: readonly number[]): Uint8Array => {
    const bytes = Buffer.alloc(44 + 4 * samples.length);
    encodeWav(new Float32Array(0), 16000).forEach((byte, i) => (bytes[i] = byte));
    for (const [at, value] of [[4, 36 + 4 * samples.length], [28, 64000], [40, 4 * samples.length]] as const) bytes.writeUInt32LE(value, at); // prettier-ignore
    for (const [at, value] of [[20, 3], [32, 4], [34, 32]] as const) bytes.writeUInt16LE(value, at); // prettier-ignore
    samples.forEach((sample, i) => bytes.writeFloatLE(sample, 44 + 4 * i));
    return bytes;
  };

  test.each<[string, Uint8Array, RegExp]>([
    ['of one sample', encodeWav(Float32Array.of(0.1), 16000), /too little for one audio token/],
    ['of none', encodeWav(new Float32Array(0), 16000), /has no samples/],
    ['with NaN', floats([0, 0.5, NaN, 0.1]), /not finite/],
    ['with an infinite sample', floats([0, Infinity, 0.1]), /not finite/],
    ['that are none', Buffer.from('<!DOCTYPE html>'), /cannot be decoded as audio/],
  ])('%s are named, and nothing is written', async (_, bytes, message) => {
    const path = replace(bytes);
    const said = await failure(AudioError);
    expect(said).toMatch(message);
    expect(said).toContain(path);
    expect(artifacts(run).filter((name) => name.startsWith('evaluation'))).toEqual([]);
  });
});

test('a run folder of another recipe stays as it is', async () => {
  mkdirSync(run);
  writeFileSync(join(run, 'run.json'), '{"recipe":"other"}\n');
  expect(await failure(RunFolderError)).toBe(
    `${run} holds a run of the recipe other, not of tiny; choose another output or remove the folder`,
  );
});

test('an artifact with a damaged record is named, and made again', async () => {
  for (const key of ['importance', 'heal', 'quantize', 'distill']) delete (recipe as never)[key];
  await runRecipe(writeRecipe(dir, recipe));
  const record = join(run, 'evaluation-teacher', 'stage.json');
  writeFileSync(record, '{"stage":"eval');
  const made: string[] = [];
  const warnings: string[] = [];
  await runRecipe(writeRecipe(dir, recipe), {
    onStage: (name, { reused }) => void (reused || made.push(name)),
    onWarning: (message) => void warnings.push(message),
  });
  expect(warnings).toEqual([
    `the artifact ${join(run, 'evaluation-teacher')} is damaged (stage.json cannot be read); ` +
      'the stage is made anew',
  ]);
  expect(made).toEqual(['evaluation-teacher']);
});
