/** Damaged JSON files of a checkpoint: it loads and translates, or is refused before it does. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pruneCheckpoint } from '../../lib/compress/prune-checkpoint';
import { quantizeCheckpoint } from '../../lib/compress/quantize-checkpoint';
import { seededRandom, type Random } from '../../lib/data/random';
import { loadModel, loadNf4, saveModel } from '../../lib/qwen2-audio';
import { account } from '../../lib/qwen2-audio/accounting';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { memory } from '../../lib/torch';
import { writeRandomAdapter } from '../lora/random-adapter';
import { settle } from '../qwen2-audio/tiny-model';
import { writeTinyCheckpoint } from '../tiny-checkpoint';
import { mutatedBytes, mutatedJson } from './mutate';
import { outcome } from './outcome';

jest.setTimeout(900_000);

const folder = mkdtempSync(join(tmpdir(), 'pare-mutations-'));
const whole = join(folder, 'whole');
const dir = join(folder, 'model');
const output = join(folder, 'output');

beforeAll(() => {
  const plain = join(folder, 'plain');
  writeTinyCheckpoint(plain, { decoderLayers: 2 });
  using model = loadModel(plain);
  saveModel(whole, model, undefined, { maxShardSize: 60_000 });
  for (const file of readdirSync(plain)) {
    if (!/^model/.test(file)) cpSync(join(plain, file), join(whole, file));
  }
  writeRandomAdapter(join(whole, 'adapter'), plain, { r: 2, loraAlpha: 4 }, 1);
});
beforeEach(() => cpSync(whole, dir, { recursive: true }));
afterEach(() => rmSync(dir, { recursive: true }));
afterAll(() => rmSync(folder, { recursive: true }));

const sound = Float32Array.from({ length: 4000 }, (_, i) => 0.3 * Math.sin(i / 5));

async function translate(): Promise<void> {
  using translator = await SpeechTranslator.load(dir);
  const { tokenIds } = await translator.translate(sound, { to: 'German', maxNewTokens: 2 });
  expect(tokenIds.length).toBeLessThanOrEqual(2);
}

/** What the files are read for beside translation; now and then one of them. */
const others: readonly (() => unknown)[] = [
  () => pruneCheckpoint(dir, [0], output, { allowEdges: true }),
  () => quantizeCheckpoint(dir, output, { blockSize: 32 }),
  () => loadNf4(dir).then((model) => model.dispose()),
];

async function attempt(file: string, bytes: string | Uint8Array, random: Random): Promise<boolean> {
  writeFileSync(join(dir, file), bytes);
  const first = await outcome(folder, translate);
  await outcome(folder, () => account(dir));
  if (random.next() < 0.15) await outcome(folder, random.pick(others));
  rmSync(output, { recursive: true, force: true });
  // Nothing half written.
  expect(readdirSync(folder).sort()).toEqual(['model', 'plain', 'whole']);
  return first !== 'used';
}

test.each([
  ['config.json', 900],
  ['generation_config.json', 300],
  ['preprocessor_config.json', 300],
  ['tokenizer.json', 700],
  ['tokenizer_config.json', 300],
  ['model.safetensors.index.json', 500],
  ['adapter/adapter_config.json', 500],
])('%s', async (file, count) => {
  const bytes = readFileSync(join(whole, file));
  // Without one, the weights can be pruned and quantised.
  if (!file.startsWith('adapter/')) rmSync(join(dir, 'adapter'), { recursive: true });
  const json: unknown = JSON.parse(bytes.toString());
  let refused = 0;
  let started: number | undefined;
  for (let i = 0; i < count; i++) {
    const random = seededRandom(`${file} ${i}`);
    const damaged = random.next() < 0.8 ? mutatedJson(json, random) : mutatedBytes(bytes, random);
    if (await attempt(file, damaged, random)) refused++;
    if (i === 20) {
      await settle();
      started = memory().handles;
    }
  }
  await settle();
  expect(memory().handles).toBeLessThanOrEqual(started!);
  // Some pass and some do not, or nothing was tested.
  expect(refused).toBeGreaterThan(count / 20);
  expect(refused).toBeLessThan(count);
});
