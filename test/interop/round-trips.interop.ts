/**
 * Checkpoints go to Python and back: what pare writes, transformers, bitsandbytes and PEFT read, and
 * the other way round, with the same token ids. `npm run test:interop` runs this.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAudio, writeWav } from '../../lib/audio';
import { quantizeModel } from '../../lib/compress';
import { mergeCheckpoint } from '../../lib/compress/merge';
import { loadAdapter } from '../../lib/lora';
import { generate, loadModel, Processor, saveModel, type Qwen2Audio } from '../../lib/qwen2-audio';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import type { DType } from '../../lib/torch';
import { writeRandomAdapter } from '../lora/random-adapter';
import { examples, leftPadded, tinyFolder, vectors } from '../qwen2-audio/tiny-model';
import { writeTone } from '../tiny-checkpoint';

const minutes = 60_000;
jest.setTimeout(5 * minutes);

type Ids = number[][];
interface Checkpoint {
  name: string;
  inputs: 'vectors' | 'clips';
  checkpoint: string;
  adapter?: string | null;
}
interface Result {
  versions: Record<string, string>;
  read: Record<string, Ids | string>;
  written: (Checkpoint & { ids: Ids })[];
}

const fixtures = join(__dirname, '../fixtures');
/** What is done to each is as much as changes its answers; the teacher's are sure. */
const bases = [
  {
    name: 'tiny',
    inputs: 'vectors',
    checkpoint: tinyFolder,
    removed: vectors.removedLayers,
    adapterStd: 0.05,
  },
  {
    name: 'teacher',
    inputs: 'clips',
    checkpoint: join(__dirname, '../../recipes/demo-teacher'),
    removed: [1, 2, 4, 5, 7, 8, 10],
    adapterStd: 0.3,
  },
] as const;
const forms = [
  'plain',
  'bf16',
  'pruned',
  'nf4',
  'plain with adapter',
  'nf4 with adapter',
  'merged',
  'merged from nf4',
  'requantized',
];
const saved = [
  'plain',
  'pruned',
  'nf4',
  'merged',
  'requantized',
  'plain with adapter',
  'nf4 with adapter',
];
const namesOf = (list: readonly string[]): string[] =>
  bases.flatMap(({ name }) => list.map((form) => `${name} ${form}`));

const languages = ['German', 'Chinese'];
const maxNewTokens = 24;
/** Files are what is compared: in bfloat16 a near tie may fall either way. */
const dtype = 'float32';
let folder: string;
let clips: string[];
let result: Result;
const ours: Record<string, Ids> = {};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-interop-'));
  clips = await writeClips();
  const read: Checkpoint[] = [];
  for (const base of bases) read.push(...(await writeAll(base)));
  for (const one of read) ours[one.name] = await answers(one);
  const write = bases.map((base) => ({ ...base, directory: join(folder, 'python', base.name) }));
  const [job, answer] = [join(folder, 'job.json'), join(folder, 'result.json')];
  writeFileSync(job, JSON.stringify({ read, write, clips, languages, maxNewTokens }));
  const script = join(__dirname, '../oracle/round_trip.py');
  const python = process.env.PARE_INTEROP_PYTHON ?? 'python3';
  execFileSync(python, ['-W', 'ignore', script, job, answer], {
    // Half a minute of work; a crowded machine was seen to take twenty times as long.
    timeout: 10 * minutes,
    stdio: ['ignore', 'ignore', 'inherit'],
    maxBuffer: 1 << 26,
  });
  result = JSON.parse(readFileSync(answer, 'utf8')) as Result;
}, 12 * minutes);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Three clips of different lengths: speech, half of it, and a tone. */
async function writeClips(): Promise<string[]> {
  const speech = await loadAudio(join(fixtures, 'clip.wav'));
  const paths = ['speech', 'half', 'tone'].map((name) => join(folder, `${name}.wav`));
  writeWav(paths[0]!, speech, 16000);
  writeWav(paths[1]!, speech.slice(0, speech.length / 2), 16000);
  writeTone(paths[2]!, 1, 400);
  return paths;
}

/** Every form of a checkpoint that pare can write. */
async function writeAll(base: (typeof bases)[number]): Promise<Checkpoint[]> {
  const dir = (form: string): string => join(folder, 'pare', base.name, form);
  const save = (form: string, change: (model: Qwen2Audio) => Qwen2Audio, dtype?: DType): void => {
    using model = loadModel(base.checkpoint);
    const processor =
      base.inputs === 'clips' ? Processor.fromPretrained(base.checkpoint, model.config) : undefined;
    saveModel(dir(form), change(model), processor, { dtype });
  };
  save('plain', (model) => model);
  save('bf16', (model) => model, 'bfloat16');
  save('pruned', (model) =>
    model.withLayers([...model.layers.keys()].filter((i) => !base.removed.some((r) => r === i))),
  );
  save('nf4', (model) => {
    quantizeModel(model);
    return model;
  });
  const adapter = dir('adapter');
  const config = { r: 4, loraAlpha: 8, useRslora: true };
  writeRandomAdapter(adapter, base.checkpoint, config, 5, base.adapterStd);
  await mergeCheckpoint(dir('plain'), dir('merged'), { adapter });
  await mergeCheckpoint(dir('nf4'), dir('merged from nf4'), { adapter });
  await mergeCheckpoint(dir('nf4'), dir('requantized'), { adapter, quantize: 'nf4' });
  return forms.map((form) => {
    const [weights, adapted] = form.split(' with ');
    return {
      name: `${base.name} ${form}`,
      inputs: base.inputs,
      checkpoint: dir(weights!),
      adapter: adapted === undefined ? undefined : adapter,
    };
  });
}

/** What pare says, one input at a time, without end tokens. */
async function answers({ inputs, checkpoint, adapter }: Checkpoint): Promise<Ids> {
  if (inputs === 'clips') {
    using translator = await SpeechTranslator.load(checkpoint, {
      adapter: adapter ?? undefined,
      dtype,
    });
    const request = { maxNewTokens, batchSize: 1 };
    const all: Ids = [];
    for (const to of languages) {
      const translations = await translator.translateBatch(clips, { ...request, to });
      all.push(...translations.map(({ tokenIds }) => tokenIds));
    }
    return all.map((ids) => withoutEnd(translator.model, ids));
  }
  using model = loadModel(checkpoint, { dtype });
  if (adapter) loadAdapter(adapter, model);
  const all: Ids = [];
  for (const example of examples()) {
    const options = { maxNewTokens: vectors.maxNewTokens };
    all.push(...(await generate(model, leftPadded(model, [example]), options)));
  }
  return all.map((ids) => withoutEnd(model, ids));
}

function withoutEnd(model: Qwen2Audio, ids: readonly number[]): number[] {
  return ids.filter((id) => !model.config.eosTokenIds.includes(id));
}

describe('Python reads what pare wrote, and says the same', () => {
  test.each(namesOf(forms))('%s', (name) => {
    expect(result.read[name]).toEqual(ours[name]);
  });
});

describe('pare reads what Python wrote, and says the same', () => {
  test.each(namesOf(saved))('%s', async (name) => {
    const written = result.written.find((one) => one.name === name)!;
    expect(await answers(written)).toEqual(written.ids);
  });
});

test('the forms are different models', () => {
  for (const { name } of bases) {
    for (const ids of [
      ours,
      Object.fromEntries(result.written.map((one) => [one.name, one.ids])),
    ]) {
      const of = (form: string): string => JSON.stringify(ids[`${name} ${form}`]);
      const differ = ['plain', 'pruned', 'plain with adapter'].map(of);
      expect(new Set(differ).size).toBe(differ.length);
      expect(of('nf4')).not.toBe(of('nf4 with adapter'));
    }
  }
  console.log(
    Object.entries(result.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
  );
});
