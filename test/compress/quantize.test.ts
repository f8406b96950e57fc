/** Quantising a whole model. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CompressionError, quantizeModel } from '../../lib/compress';
import { dequantizeNf4, Embedding4bit, Linear4bit } from '../../lib/nf4';
import {
  audioTokenCount,
  collate,
  loadModel,
  saveModel,
  type Qwen2Audio,
} from '../../lib/qwen2-audio';
import { account, logicalParameters } from '../../lib/qwen2-audio/accounting';
import { memory, nn, noGrad, scope } from '../../lib/torch';
import { instructionOf } from '../../lib/train/examples';
import { tinyTask, type TinyTask } from './tiny-task';

jest.setTimeout(300_000);
let task: TinyTask;
beforeAll(async () => {
  task = await tinyTask();
});
afterAll(() => task.dispose());

const linear = (model: Qwen2Audio): string[] =>
  [...model.namedModules()].filter(([, m]) => m instanceof nn.Linear).map(([name]) => name);
const packed = (model: Qwen2Audio): string[] =>
  [...model.namedModules()].filter(([, m]) => m instanceof Linear4bit).map(([name]) => name);

/** Logits at the last position of each dev utterance, in training's padding one by one. */
function logits(model: Qwen2Audio): number[] {
  return task.splits.dev.flatMap((utterance) =>
    scope(() => {
      const mel = task.features.get(utterance);
      const prompt = { instruction: instructionOf('de') };
      const example = { ...task.processor.tokenize(prompt, audioTokenCount(mel.frames)), mel };
      const all = noGrad(() => model.forward(collate(model, [example], 'left')));
      return all.select(1, all.size(1) - 1).toArray() as number[];
    }),
  );
}

function relativeDistance(a: number[], b: number[]): number {
  const norm = (x: number[]): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));
  return norm(a.map((v, i) => v - b[i]!)) / norm(b);
}

test('every linear layer but lm_head is replaced, and the answer stays near', () => {
  const model = task.newModel(3);
  const before = linear(model);
  const exact = logits(model);
  const handles = memory();
  const count = quantizeModel(model);
  expect(linear(model)).toEqual(['language_model.lm_head']);
  expect(packed(model)).toEqual(before.filter((name) => name !== 'language_model.lm_head'));
  // Encoder: 4 of attention and 2; projector; decoder: 4 of attention and 3 a layer.
  expect(count).toBe(1 * 6 + 1 + 3 * 7);
  expect(before).toHaveLength(count + 1);
  expect(memory().bytes).toBeLessThan(handles.bytes);
  const distance = relativeDistance(logits(model), exact);
  // These weights are of the size that amplifies every error; a wrong one gives 1.4.
  expect(distance).toBeGreaterThan(0.001);
  expect(distance).toBeLessThan(0.6);
  model.dispose();
});

test('larger blocks are further away, and double quantisation costs little', () => {
  const error = (options: Parameters<typeof quantizeModel>[1]): number => {
    const [model, exact] = [task.newModel(1), task.newModel(1)];
    quantizeModel(model, options);
    const weight = (m: Qwen2Audio): number[] => {
      const { gateProj } = m.layers[0]!.mlp as unknown as { gateProj: nn.Linear | Linear4bit };
      if (!(gateProj instanceof Linear4bit)) return gateProj.weight.detach().toArray() as number[];
      return scope(() => dequantizeNf4(gateProj.weight, gateProj.quantState).toArray() as number[]);
    };
    const result = relativeDistance(weight(model), weight(exact));
    model.dispose();
    exact.dispose();
    return result;
  };
  const [fine, coarse] = [error({ blockSize: 64 }), error({ blockSize: 1024 })];
  expect(fine).toBeLessThan(0.12);
  expect(coarse).toBeGreaterThan(fine);
  const plain = error({ blockSize: 64, doubleQuant: false });
  expect(Math.abs(plain - fine)).toBeLessThan(0.01);
});

test('what is to be skipped stays as it is', () => {
  const model = task.newModel(2);
  const skip = ['multi_modal_projector.linear', 'o_proj', 'layers.1.mlp.down_proj'];
  quantizeModel(model, { skip });
  expect(linear(model)).toEqual([
    'multi_modal_projector.linear',
    'language_model.model.layers.0.self_attn.o_proj',
    'language_model.model.layers.1.self_attn.o_proj',
    'language_model.model.layers.1.mlp.down_proj',
    'language_model.lm_head',
  ]);
  model.dispose();
});

test('lm_head and embeddings, where they are asked for', () => {
  const model = task.newModel(2);
  quantizeModel(model, { lmHead: true, embeddings: true, blockSize: 32 });
  expect(linear(model)).toEqual([]);
  const { embedTokens } = model.languageModel.model;
  expect(embedTokens).toBeInstanceOf(Embedding4bit);
  expect(model.dtype).toBe('float32');
  const dir = join(task.dir, 'all-packed');
  saveModel(dir, model, task.processor);
  // What transformers reads: nothing is left out, lm_head neither.
  const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as {
    quantization_config: { llm_int8_skip_modules: unknown };
  };
  expect(config.quantization_config.llm_int8_skip_modules).toEqual([]);
  const again = loadModel(dir);
  expect(logits(again)).toEqual(logits(model));
  const { bytesByCategory, parameters } = account(dir);
  const bytes = (category: string): number =>
    bytesByCategory.find((entry) => entry.category === category)!.bytes;
  expect(parameters).toBe(logicalParameters(model.config).total);
  const { vocabSize, hiddenSize } = model.config.text;
  expect(bytes('embeddings')).toBe((vocabSize * hiddenSize) / 2);
  expect(bytes('lm_head')).toBe((vocabSize * hiddenSize) / 2);
  again.dispose();
  model.dispose();
});

test('packed embeddings have the dtype that a checkpoint is of', () => {
  const model = task.newModel(1);
  quantizeModel(model, { embeddings: true, blockSize: 32 });
  const dir = join(task.dir, 'packed-half');
  saveModel(dir, model, task.processor, { dtype: 'bfloat16' });
  using stored = loadModel(dir);
  expect(stored.dtype).toBe('bfloat16');
  expect(logits(stored).every(Number.isFinite)).toBe(true);
  using float = loadModel(dir, { dtype: 'float32' });
  expect(relativeDistance(logits(float), logits(model))).toBeLessThan(0.1);
  // Packed already: nothing is left to do.
  expect(quantizeModel(model, { embeddings: true, blockSize: 32 })).toBe(0);
  model.dispose();
});

test('positions of the audio tower in 4 bits are refused by name', () => {
  const model = task.newModel(1);
  const dir = join(task.dir, 'packed-positions');
  const tower = model.audioTower as unknown as { embedPositions: unknown };
  tower.embedPositions = Embedding4bit.fromEmbedding(model.audioTower.embedPositions, {
    blockSize: 32,
  });
  saveModel(dir, model, task.processor);
  expect(() => loadModel(dir)).toThrow(/audio_tower.embed_positions.weight/);
  model.dispose();
});

test('embeddings narrower than a block are refused before anything is replaced', () => {
  const model = task.newModel(1);
  const before = linear(model);
  const quantize = (): number => quantizeModel(model, { embeddings: true, blockSize: 4096 });
  expect(quantize).toThrow(CompressionError);
  expect(quantize).toThrow(/embeddings of \d+ values do not divide into blocks of 4096/);
  expect(linear(model)).toEqual(before);
  model.dispose();
});

test('a quantised model is the same after a checkpoint', () => {
  const model = task.newModel(2);
  quantizeModel(model);
  const dir = join(task.dir, 'packed');
  saveModel(dir, model, task.processor);
  const again = loadModel(dir);
  expect(packed(again)).toEqual(packed(model));
  expect(logits(again)).toEqual(logits(model));
  again.dispose();
  model.dispose();
});
