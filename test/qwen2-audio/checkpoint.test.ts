/** Reading and writing checkpoints: what is written is what is read, under every name. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CheckpointError,
  generate,
  loadModel,
  loadNf4,
  Processor,
  saveModel,
  type Qwen2Audio,
} from '../../lib/qwen2-audio';
import { Linear4bit } from '../../lib/nf4';
import { loadSafetensors, memory, writeSafetensors, zeros, type Tensor } from '../../lib/torch';
import { Tokenizer } from '../../lib/text';
import {
  copyTiny,
  leftPadded,
  loadTiny,
  quantizeLinears,
  readVectors,
  rename,
  settle,
  tinyFolder,
  vectors,
  vectorsFolder,
  type Greedy,
} from './tiny-model';

jest.setTimeout(120_000);
const { maxNewTokens, removedLayers } = vectors;
let folder: string;
let target: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-checkpoint-'));
  target = join(folder, 'saved');
});
afterEach(() => rmSync(folder, { recursive: true }));

const say = (model: Qwen2Audio): Promise<number[][]> =>
  generate(model, leftPadded(model), { maxNewTokens });

const config = (dir: string): Record<string, unknown> & { text_config: Record<string, unknown> } =>
  JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as never;

function expectSameTensors(a: ReadonlyMap<string, Tensor>, b: ReadonlyMap<string, Tensor>): void {
  expect([...a.keys()].sort()).toEqual([...b.keys()].sort());
  for (const [name, value] of a) {
    const other = b.get(name)!;
    expect([name, value.dtype, value.shape]).toEqual([name, other.dtype, other.shape]);
    if (!value.equal(other)) throw new Error(`${name} differs`);
  }
}

const weights = (dir: string): Map<string, Tensor> =>
  loadSafetensors(join(dir, 'model.safetensors'));

describe('a checkpoint', () => {
  test('is written with the same tensors, and with a config that loads anywhere', () => {
    saveModel(target, loadTiny(), undefined);
    expectSameTensors(weights(target), weights(tinyFolder));
    expect(config(target)).toMatchObject({
      ...config(tinyFolder),
      text_config: { ...config(tinyFolder).text_config, tie_word_embeddings: false },
      tie_word_embeddings: false,
      torch_dtype: 'float32',
    });
    expect(config(target)).not.toHaveProperty('quantization_config');
    const generation = JSON.parse(
      readFileSync(join(target, 'generation_config.json'), 'utf8'),
    ) as object;
    expect(generation).toEqual({ do_sample: false, eos_token_id: [1, 2], pad_token_id: 0 });
    expectSameTensors(loadModel(target).stateDict(), loadTiny().stateDict());
    expect(readdirSync(folder)).toEqual(['saved']);
  });

  test('in shards has an index, and reads the same', async () => {
    const maxShardSize = 100_000;
    saveModel(target, loadTiny(), undefined, { maxShardSize });
    const index = JSON.parse(
      readFileSync(join(target, 'model.safetensors.index.json'), 'utf8'),
    ) as { metadata: { total_size: number }; weight_map: Record<string, string> };
    const files = readdirSync(target).filter((name) => name.endsWith('.safetensors'));
    expect(files.length).toBeGreaterThan(3);
    for (const [i, file] of files.entries()) {
      expect(file).toBe(`model-0000${i + 1}-of-0000${files.length}.safetensors`);
      const inside = loadSafetensors(join(target, file));
      const bytes = [...inside.values()].reduce((sum, { numel }) => sum + 4 * numel, 0);
      expect(bytes).toBeLessThanOrEqual(maxShardSize);
      for (const name of inside.keys()) expect(index.weight_map[name]).toBe(file);
    }
    expect(Object.keys(index.weight_map).sort()).toEqual([...weights(tinyFolder).keys()].sort());
    expect(index.metadata.total_size).toBe(96_688 * 4);
    const model = loadModel(target);
    expectSameTensors(model.stateDict(), loadTiny().stateDict());
    expect(await say(model)).toEqual(vectors.greedy.full.greedyBatch);
  });

  test('takes tokenizer and processor along', () => {
    const tokenizer = Tokenizer.fromPretrained(join(vectorsFolder, 'processor/tokenizer'));
    saveModel(target, loadTiny(), new Processor({ tokenizer, maxSourcePositions: 100 }));
    const read = Processor.fromPretrained(target);
    expect(read.windowFrames).toBe(200);
    const prompt = { instruction: 'What?' };
    expect(read.tokenize(prompt, 2)).toEqual(new Processor({ tokenizer }).tokenize(prompt, 2));
  });

  test('without two layers is renumbered, and says the same when reloaded', async () => {
    const model = loadTiny();
    const indices = [...model.layers.keys()].filter((i) => !removedLayers.includes(i));
    saveModel(target, model.withLayers(indices), undefined);
    const { text_config: text } = config(target);
    expect(text.num_hidden_layers).toBe(3);
    expect(text.layer_types).toEqual(new Array(3).fill('full_attention'));
    const [own, whole] = [weights(target), weights(tinyFolder)];
    for (const [to, from] of indices.entries()) {
      const at = (i: number): string => `language_model.model.layers.${i}.mlp.up_proj.weight`;
      expect(own.get(at(to))!.equal(whole.get(at(from))!)).toBe(true);
    }
    expect([...own.keys()].filter((name) => /layers\.[34]\./.test(name))).toEqual([]);
    const pruned = loadModel(target);
    expect(pruned.layers).toHaveLength(3);
    expect(pruned.config.text.numHiddenLayers).toBe(3);
    expect(await say(pruned)).toEqual(vectors.greedy.pruned.greedyBatch);
    // Pruning what was pruned counts from the layers that are left.
    const twice = join(folder, 'twice');
    saveModel(twice, pruned.withLayers([0, 2]), undefined);
    expect(loadModel(twice).layers).toHaveLength(2);
  });

  test('in bfloat16 is half the size, and stays what it is', () => {
    saveModel(target, loadTiny(), undefined, { dtype: 'bfloat16' });
    expect(config(target)).toMatchObject({ dtype: 'bfloat16', torch_dtype: 'bfloat16' });
    const [half, whole] = [weights(target), weights(tinyFolder)];
    for (const [name, value] of whole)
      expect(half.get(name)!.equal(value.to('bfloat16'))).toBe(true);
    const model = loadModel(target);
    expect(model.dtype).toBe('bfloat16');
    const again = join(folder, 'again');
    saveModel(again, model, undefined);
    expect(readFileSync(join(again, 'model.safetensors'))).toEqual(
      readFileSync(join(target, 'model.safetensors')),
    );
    const wide = loadModel(target, { dtype: 'float32' }).stateDict();
    for (const [name, value] of wide) expect(value.equal(half.get(name)!.to('float32'))).toBe(true);
  });

  test('is not written over another', () => {
    saveModel(target, loadTiny(), undefined);
    const before = readFileSync(join(target, 'config.json'));
    expect(() => saveModel(target, loadTiny(), undefined)).toThrow(CheckpointError);
    expect(() => saveModel(target, loadTiny(), undefined)).toThrow(
      `${target} exists already; choose another folder`,
    );
    expect(readFileSync(join(target, 'config.json'))).toEqual(before);
    expect(readdirSync(folder)).toEqual(['saved']);
  });

  test('that is loaded leaves the model and nothing else in memory', () => {
    const before = memory().handles;
    const model = loadTiny();
    const tensors = model.stateDict().size;
    expect(memory().handles - before).toBe(tensors);
    model.dispose();
    expect(memory().handles).toBe(before);
  });
});

describe('an NF4 checkpoint', () => {
  const greedyNf4 = readVectors<Greedy>('nf4-model-vectors.json');

  test('has the names and the configuration of bitsandbytes', () => {
    saveModel(target, quantizeLinears(loadTiny()), undefined);
    expect(config(target).quantization_config).toMatchObject({
      quant_method: 'bitsandbytes',
      load_in_4bit: true,
      bnb_4bit_quant_type: 'nf4',
      bnb_4bit_use_double_quant: true,
      bnb_4bit_compute_dtype: 'float32',
    });
    // transformers insists on a float, which JSON from JavaScript cannot tell from an integer.
    expect(config(target).quantization_config).not.toHaveProperty('llm_int8_threshold');
    const state = weights(target);
    const name = 'language_model.model.layers.0.mlp.up_proj.weight';
    expect([...state.keys()].filter((key) => key.startsWith(name)).sort()).toEqual(
      [
        '',
        '.absmax',
        '.nested_absmax',
        '.nested_quant_map',
        '.quant_map',
        '.quant_state.bitsandbytes__nf4',
      ].map((end) => name + end),
    );
    expect(state.get(name)!.dtype).toBe('uint8');
    expect(state.get(name)!.shape).toEqual([(48 * 40) / 2, 1]);
    expect(state.get('language_model.lm_head.weight')!.dtype).toBe('float32');
  });

  test('reads back byte for byte, and says the same', async () => {
    const quantized = quantizeLinears(loadTiny());
    saveModel(target, quantized, undefined);
    const model = loadModel(target);
    expectSameTensors(model.stateDict(), quantized.stateDict());
    expect(await say(model)).toEqual(greedyNf4.greedyBatch);
    const again = join(folder, 'again');
    saveModel(again, model, undefined, { maxShardSize: 30_000 });
    const third = join(folder, 'third');
    saveModel(third, loadModel(again), undefined);
    for (const file of ['model.safetensors', 'config.json']) {
      expect(readFileSync(join(third, file))).toEqual(readFileSync(join(target, file)));
    }
  });

  test('is what comes of packing a plain one at load, as transformers does', async () => {
    await settle(); // The collector may free what tests before left to it.
    const before = memory().handles;
    const model = await loadNf4(tinyFolder);
    expect(memory().handles - before).toBe(model.stateDict().size);
    expectSameTensors(model.stateDict(), quantizeLinears(loadTiny()).stateDict());
    expect(await say(model)).toEqual(greedyNf4.greedyBatch);
    const bfloat16 = await loadNf4(tinyFolder, { dtype: 'bfloat16' });
    for (const [name, tensor] of bfloat16.stateDict()) {
      if (name.includes('q_proj.weight')) {
        expect(tensor.toArray()).toEqual(model.stateDict().get(name)!.toArray());
      }
      if (name.endsWith('norm.weight')) expect(tensor.dtype).toBe('bfloat16');
    }
  });

  test('with the rest in bfloat16 keeps its 4-bit weights', () => {
    const quantized = quantizeLinears(loadTiny());
    saveModel(target, quantized, undefined, { dtype: 'bfloat16' });
    expect(config(target)).toMatchObject({
      dtype: 'bfloat16',
      quantization_config: { bnb_4bit_compute_dtype: 'bfloat16' },
    });
    const converted = loadModel(tinyQuantized(quantized), { dtype: 'bfloat16' });
    for (const model of [loadModel(target), converted]) {
      const state = model.stateDict();
      for (const [name, module] of quantized.namedModules()) {
        if (!(module instanceof Linear4bit)) continue;
        expect(state.get(`${name}.weight`)!.equal(module.weight)).toBe(true);
        expect(state.get(`${name}.weight.absmax`)!.equal(module.quantState.absmax)).toBe(true);
        if (module.bias) expect(state.get(`${name}.bias`)!.dtype).toBe('bfloat16');
      }
      expect(model.dtype).toBe('bfloat16');
      expect(model.forward(leftPadded(model)).isfinite().all()).toBe(true);
    }
  });

  function tinyQuantized(model: Qwen2Audio): string {
    const dir = join(folder, 'float32');
    saveModel(dir, model, undefined);
    return dir;
  }
});

describe('names by writer', () => {
  const inMemory = (name: string): string =>
    name
      .replace(/^language_model\.lm_head/, 'lm_head')
      .replace(/^language_model\.model\./, 'model.language_model.')
      .replace(/^(audio_tower|multi_modal_projector)\./, 'model.$1.');
  const fiveEighteen = (name: string): string =>
    name
      .replace(/^language_model\.lm_head/, 'lm_head')
      .replace(/^language_model\.model\./, 'language_model.model.model.');

  test.each([
    ['public', (name: string): string => name],
    ['transformers 5 in memory', inMemory],
    ['transformers 5.18', fiveEighteen],
  ])('%s', async (_, of) => {
    copyTiny(target);
    rename(target, of);
    const model = loadModel(target);
    expectSameTensors(model.stateDict(), loadTiny().stateDict());
    const quantized = join(folder, 'quantized');
    saveModel(quantized, quantizeLinears(model), undefined);
    rename(quantized, of);
    expectSameTensors(loadModel(quantized).stateDict(), quantizeLinears(loadTiny()).stateDict());
  });

  test('tables of old versions are passed over, a tensor under two names is not', () => {
    copyTiny(target);
    const state = weights(target);
    state.set('language_model.model.layers.0.self_attn.rotary_emb.inv_freq', zeros([5]));
    writeSafetensors(join(target, 'model.safetensors'), state);
    expectSameTensors(loadModel(target).stateDict(), loadTiny().stateDict());
    state.set('lm_head.weight', state.get('language_model.lm_head.weight')!);
    writeSafetensors(join(target, 'model.safetensors'), state);
    expect(() => loadModel(target)).toThrow(CheckpointError);
    expect(() => loadModel(target)).toThrow(/model\.safetensors.* twice/);
  });
});
