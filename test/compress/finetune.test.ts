/** Fine-tuning in place, whole or by an adapter, and the teacher's vocabulary and start. */
import { join } from 'node:path';
import { mkdirSync, readFileSync } from 'node:fs';
import {
  CompressionError,
  finetune,
  quantizeModel,
  randomModel,
  trainingItems,
  trainTokenizer,
  type FinetuneOptions,
} from '../../lib/compress';
import { detachLora, mergeLora } from '../../lib/lora';
import { Processor, type Qwen2Audio } from '../../lib/qwen2-audio';
import { Tokenizer } from '../../lib/text';
import { memory } from '../../lib/torch';
import { TrainingError } from '../../lib/train/error';
import { settle } from '../qwen2-audio/tiny-model';
import { tinyShape } from '../pipeline/tiny-recipe';
import { languages, tinyTask, type TinyTask } from './tiny-task';

jest.setTimeout(300_000);
let task: TinyTask;
beforeAll(async () => {
  task = await tinyTask();
});
afterAll(() => task.dispose());

const options: FinetuneOptions = { learningRate: 2e-3, batchSize: 4, seed: 3, steps: 6 };
const lora = { r: 2, loraAlpha: 4, useRslora: true };

function shapeOf(layers: number): Parameters<typeof randomModel>[0] {
  const { audio, text } = tinyShape as unknown as Parameters<typeof randomModel>[0];
  return { audio, text: { ...text, num_hidden_layers: layers, initializer_range: 0.25 } };
}

/** All weights as numbers, by name. */
function weights(model: Qwen2Audio): Map<string, number[]> {
  const values = new Map<string, number[]>();
  for (const [name, tensor] of model.stateDict()) {
    values.set(name, tensor.detach().toArray() as number[]);
  }
  return values;
}

async function losses(
  model: Qwen2Audio,
  more: Partial<FinetuneOptions> = {},
): Promise<{ losses: number[]; adapter: Awaited<ReturnType<typeof finetune>> }> {
  const result: number[] = [];
  const items = trainingItems(task.splits.train.slice(0, 8), languages);
  const onStep = ({ loss }: { loss: number }): void => void result.push(loss);
  const adapter = await finetune(model, items, task.features, { ...options, onStep, ...more });
  return { losses: result, adapter };
}

test('full: every weight moves, the loss falls, nothing is left behind', async () => {
  const model = task.newModel(2);
  const before = weights(model);
  const handles = memory().handles;
  const { losses: heard, adapter } = await losses(model);
  expect(adapter).toBeUndefined();
  expect(heard).toHaveLength(6);
  expect(heard.at(-1)).toBeLessThan(heard[0]! * 0.9);
  expect(memory().handles).toBeLessThanOrEqual(handles);
  const fixed = [...weights(model)].filter(([name, values]) =>
    values.every((value, i) => value === before.get(name)![i]),
  );
  // Whisper's positions are sines, not learnt; a bias of keys has no effect on attention.
  expect(fixed.map(([name]) => name).filter((name) => !/k_proj\.bias/.test(name))).toEqual([
    'audio_tower.embed_positions.weight',
  ]);
  expect(model.training).toBe(false);
  model.dispose();
});

test('the same seed gives the same losses, another one others; micro-batches change nothing', async () => {
  const run = async (more: Partial<FinetuneOptions>): Promise<number[]> => {
    const model = task.newModel(2);
    const { losses: heard } = await losses(model, { steps: 4, ...more });
    model.dispose();
    return heard;
  };
  const first = await run({});
  expect(await run({})).toEqual(first);
  expect(await run({ seed: 4 })).not.toEqual(first);
  expect(await run({ gradientCheckpointing: true })).toEqual(first);
  const accumulated = await run({ microBatchSize: 1 });
  for (const [i, loss] of accumulated.entries()) expect(loss).toBeCloseTo(first[i]!, 4);
});

test('packed, learns the same, and an interrupted training goes on to the same bits', async () => {
  const more = { packing: true, steps: 5, microBatchSize: 3, lora: { ...lora, loraDropout: 0.1 } };
  const [plain, packed] = [task.newModel(2), task.newModel(2)];
  const { losses: padded } = await losses(plain, { steps: 5 });
  const { losses: same } = await losses(packed, { steps: 5, packing: true });
  // Where steps add up, so does rounding.
  expect(Math.abs(same[0]! / padded[0]! - 1)).toBeLessThan(1e-5);
  for (const [i, loss] of same.entries()) expect(loss / padded[i]!).toBeCloseTo(1, 3);

  const whole = task.newModel(2);
  const { losses: wanted } = await losses(whole, more);
  const state = { dir: join(task.dir, 'packed'), everySteps: 2, fingerprint: 'packed' };
  const controller = new AbortController();
  const heard: number[] = [];
  const onStep = ({ step, loss }: { step: number; loss: number }): void => {
    heard.push(loss);
    if (step === 3) controller.abort(new Error('stopped'));
  };
  const stopped = task.newModel(2);
  const broken = losses(stopped, { ...more, state, onStep, signal: controller.signal });
  await expect(broken).rejects.toThrow('stopped');
  const resumed = task.newModel(2);
  const { losses: rest } = await losses(resumed, { ...more, state });
  expect([...heard, ...rest]).toEqual(wanted);
  for (const one of [plain, packed, whole, stopped, resumed]) one.dispose();
});

describe('with weights in bfloat16', () => {
  /** The same start, rounded. */
  const newModel = (): Qwen2Audio => randomModel(shapeOf(2), task.processor, 5, 'bfloat16');
  const lean = { optimizer: 'adamw8bit', gradientCheckpointing: true, maxGradNorm: 1 } as const;

  test('learns as float32 does, CTC and micro-batches included', async () => {
    const more = { ...lean, steps: 12, microBatchSize: 2, ctcWeight: 0.5 };
    const full = randomModel(shapeOf(2), task.processor, 5);
    const { losses: exact } = await losses(full, more);
    const model = newModel();
    await settle();
    const handles = memory().handles;
    const { losses: heard } = await losses(model, more);
    expect(memory().handles).toBe(handles);
    expect(model.dtype).toBe('bfloat16');
    for (const [i, loss] of heard.entries()) {
      expect(Math.abs(loss / exact[i]! - 1)).toBeLessThan(0.03);
    }
    expect(heard.at(-1)).toBeLessThan(heard[0]! * 0.8);
    // Under autocast, too, which has nothing left to do.
    const again = newModel();
    const { losses: cast } = await losses(again, { ...more, bf16: true });
    for (const [i, loss] of cast.entries()) {
      expect(Math.abs(loss / exact[i]! - 1)).toBeLessThan(0.03);
    }
    for (const one of [full, model, again]) one.dispose();
  });

  test('an interrupted training goes on to the same bits', async () => {
    const more = { ...lean, steps: 7, microBatchSize: 2 };
    const whole = newModel();
    const { losses: wanted } = await losses(whole, more);
    const state = { dir: join(task.dir, 'checkpoints'), everySteps: 2, fingerprint: 'a' };
    const controller = new AbortController();
    const heard: number[] = [];
    const onStep = ({ step, loss }: { step: number; loss: number }): void => {
      heard.push(loss);
      if (step === 3) controller.abort(new Error('stopped'));
    };
    const stopped = newModel();
    const broken = losses(stopped, { ...more, state, onStep, signal: controller.signal });
    await expect(broken).rejects.toThrow('stopped');
    const resumed = newModel();
    const { losses: rest } = await losses(resumed, { ...more, state });
    expect([...heard, ...rest]).toEqual(wanted);
    expect(weights(resumed)).toEqual(weights(whole));
    for (const one of [whole, stopped, resumed]) one.dispose();
  });

  test('a step below half of a last bit moves weights only if they are rounded stochastically', async () => {
    const slow = { ...lean, learningRate: 3e-4, steps: 4 };
    const moved = async (rounding: 'stochastic' | 'nearest'): Promise<number> => {
      const model = newModel();
      // Ones, all norms' weights: half of a last bit is 0.002 below them.
      const ones = (): number[] =>
        [...weights(model)].filter(([name]) => /norm\.weight$/.test(name)).flatMap(([, v]) => v);
      await losses(model, { ...slow, rounding });
      const count = ones().filter((value) => value !== 1).length;
      model.dispose();
      return count;
    };
    expect(await moved('nearest')).toBe(0);
    expect(await moved('stochastic')).toBeGreaterThan(10);
  });

  test('an adapter stays float32 over a base in bfloat16', async () => {
    const model = newModel();
    const before = weights(model);
    const { losses: heard, adapter } = await losses(model, { ...lean, lora, learningRate: 2e-2 });
    expect(heard.at(-1)).toBeLessThan(heard[0]!);
    expect([...adapter!.parameters().values()].every((p) => p.dtype === 'float32')).toBe(true);
    detachLora(adapter!);
    expect(weights(model)).toEqual(before);
    adapter!.dispose();
    model.dispose();
  });
});

test('trains when nobody listens, too', async () => {
  const [heard, unheard] = [task.newModel(1), task.newModel(1)];
  await losses(heard, { steps: 2 });
  const items = trainingItems(task.splits.train.slice(0, 8), languages);
  await finetune(unheard, items, task.features, { ...options, steps: 2 });
  expect(weights(unheard)).toEqual(weights(heard));
  heard.dispose();
  unheard.dispose();
});

test('epochs count whole passes', async () => {
  const model = task.newModel(1);
  const { losses: heard } = await losses(model, { steps: undefined, epochs: 3 });
  expect(heard).toHaveLength(6);
  model.dispose();
});

test.each(['float32', 'NF4'])('lora over %s: the base stays, the adapter learns', async (base) => {
  const model = task.newModel(2);
  if (base === 'NF4') quantizeModel(model);
  const before = weights(model);
  const { losses: heard, adapter } = await losses(model, { lora, learningRate: 2e-2 });
  expect(heard.at(-1)).toBeLessThan(heard[0]!);
  const moved = [...adapter!.parameters().values()].filter((tensor) =>
    (tensor.detach().toArray() as number[]).some((value) => value !== 0),
  );
  expect(moved).toHaveLength(adapter!.parameters().size);
  expect(adapter!.layers.size).toBe(6 + 1 + 2 * 7);
  if (base === 'NF4') expect(() => mergeLora(adapter!)).toThrow(/quanti|4-bit|NF4/);
  detachLora(adapter!);
  expect(weights(model)).toEqual(before);
  adapter!.dispose();
  model.dispose();
});

test('a loss that is not finite stops with the step and the learning rate', async () => {
  const model = task.newModel(2);
  const broken = losses(model, { learningRate: 1e30, steps: 20, schedule: 'constant' });
  await expect(broken).rejects.toThrow(TrainingError);
  await expect(broken).rejects.toThrow(
    /^the loss is (NaN|Infinity) at step \d+; lower the learning rate \(1e\+30\) or look for a damaged example among (\w+-\w+(, )?){4}$/,
  );
  model.dispose();
});

test('nothing to train on is an error', async () => {
  const model = task.newModel(1);
  const none = finetune(model, [], task.features, options);
  await expect(none).rejects.toThrow(CompressionError);
  await expect(none).rejects.toThrow('there is no utterance to train on');
  const items = trainingItems(task.splits.train, languages);
  const nothing = finetune(model, items, task.features, { ...options, ctcSteps: 1 });
  await expect(nothing).rejects.toThrow(/the CTC loss alone, which has no weight; give ctcWeight/);
  model.dispose();
});

test('the vocabulary is learnt from the training split and the prompts, the same each time', () => {
  const folders = ['one', 'two'].map((name) => join(task.dir, name));
  for (const dir of folders) {
    mkdirSync(dir);
    trainTokenizer(dir, task.splits.train, languages, 340);
  }
  const files = folders.map((dir) => readFileSync(join(dir, 'tokenizer.json'), 'utf8'));
  expect(files[0]).toBe(files[1]);
  const tokenizer = Tokenizer.fromPretrained(folders[0]!);
  expect(tokenizer.vocabSize).toBe(340);
  for (const text of [...task.splits.test.map((u) => u.translations.zh!), 'Ж und 🎵']) {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  }
  // The prompt is read with every utterance: what its words share is in the vocabulary.
  expect(tokenizer.encode(' Translate').length).toBeLessThan(' Translate'.length / 2);
});

test('a random start has the shape asked for and depends on the seed alone', () => {
  const dir = join(task.dir, 'start');
  mkdirSync(dir);
  trainTokenizer(dir, task.splits.train, languages, 320);
  const processor = new Processor({
    tokenizer: Tokenizer.fromPretrained(dir),
    maxSourcePositions: 50,
  });
  const shape = tinyShape as unknown as Parameters<typeof randomModel>[0];
  const [a, b, c] = [1, 1, 2].map((seed) => randomModel(shape, processor, seed));
  expect(a!.layers).toHaveLength(5);
  expect(a!.config.text.vocabSize).toBe(320);
  expect(a!.config.audioTokenIndex).toBe(processor.audioTokenId);
  expect(weights(a!)).toEqual(weights(b!));
  const head = 'language_model.lm_head.weight';
  expect(weights(a!).get(head)).not.toEqual(weights(c!).get(head));
  for (const model of [a!, b!, c!]) model.dispose();
});
