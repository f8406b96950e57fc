import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { quantizeModel } from '../../lib/compress';
import { loadModel, parseConfig, saveModel } from '../../lib/qwen2-audio';
import { account, logicalParameters } from '../../lib/qwen2-audio/accounting';
import { Tensor } from '../../lib/torch';
import { readSafetensors } from '../../lib/torch/safetensors';

const vectors = join(__dirname, '../oracle/vectors');
const tiny = join(vectors, 'tiny-model');

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-accounting-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('logicalParameters', () => {
  // The shape of Qwen2-Audio-7B-Instruct; what its config.json leaves out is a default.
  const full = (layers: number): ReturnType<typeof logicalParameters> =>
    logicalParameters(
      parseConfig({
        model_type: 'qwen2_audio',
        audio_config: { num_mel_bins: 128, encoder_layers: 32, d_model: 1280 },
        text_config: {
          vocab_size: 156032,
          hidden_size: 4096,
          intermediate_size: 11008,
          num_hidden_layers: layers,
        },
      }),
    );

  test('gives the published figures of the 7B model', () => {
    expect(full(32).total).toBe(8_397_094_912);
    expect(full(32).decoderLayer).toBe(202_395_648);
    expect(full(24).total).toBe(6_777_929_728);
    expect(full(32).embeddings + full(32).lmHead).toBe(1_278_214_144);
  });

  test('its parts sum to the total', () => {
    const { total, encoder, projector, embeddings, decoder, lmHead } = full(32);
    expect(encoder + projector + embeddings + decoder + lmHead).toBe(total);
  });

  test('counts grouped keys, as the weights of the tiny model have them', () => {
    const model = loadModel(tiny);
    const counted = [...model.namedTensors()].reduce((sum, [, tensor]) => sum + tensor.numel, 0);
    expect(logicalParameters(model.config).total).toBe(counted);
    model.dispose();
  });
});

describe('account', () => {
  test('a checkpoint in full precision', () => {
    const result = account(tiny);
    const file = join(tiny, 'model.safetensors');
    expect(result).toMatchObject({
      decoderLayers: 5,
      encoderLayers: 2,
      bytes: statSync(file).size,
      quantization: null,
      blockSize: null,
      doubleQuantization: null,
      storage: 'float32',
      files: [file],
    });
    expect(result.storedElements).toBe(result.parameters);
    const spent = result.bytesByCategory.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(spent).toBe(4 * result.parameters);
    expect(result.bytesByCategory.map(({ category }) => category)).toEqual([
      ...['embeddings', 'lm_head', 'encoder', 'projector', 'decoder'],
    ]);
  });

  test('NF4 keeps the logical parameters and halves what is stored of the matrices', () => {
    const dir = join(folder, 'nf4');
    const model = loadModel(tiny);
    const before = account(tiny);
    quantizeModel(model, { blockSize: 64, doubleQuant: true });
    saveModel(dir, model, undefined, { dtype: 'bfloat16' });
    model.dispose();
    const result = account(dir);
    expect(result).toMatchObject({
      parameters: before.parameters,
      quantization: 'nf4',
      blockSize: 64,
      doubleQuantization: true,
      dtype: 'bfloat16',
    });
    expect(result.storage).toMatch(/^NF4 \+ bfloat16/);
    const file = readSafetensors(join(dir, 'model.safetensors'));
    const stored = file
      .names()
      .map((name) => file.info(name).shape.reduce((product, size) => product * size, 1))
      .reduce((sum, count) => sum + count, 0);
    const state = file.names().filter((name) => /\.weight\.[^.]/.test(name));
    const stateBytes = state.reduce((sum, name) => sum + file.info(name).bytes, 0);
    file.close();
    expect(result.storedElements).toBe(stored);
    const byCategory = new Map(
      result.bytesByCategory.map(({ category, bytes }) => [category, bytes]),
    );
    expect(byCategory.get('quantisation state')).toBe(stateBytes);
    expect(stateBytes).toBeGreaterThan(0);
    const { text, audio } = loadedShape(tiny);
    // lm_head and embeddings stay in bfloat16.
    expect(byCategory.get('lm_head')).toBe(2 * text.vocabSize * text.hiddenSize);
    expect(byCategory.get('projector')).toBe(
      (audio.dModel * text.hiddenSize) / 2 + 2 * text.hiddenSize,
    );
  });

  test("an adapter is counted, the folder's own or one given", () => {
    const dir = join(vectors, 'adapter-lora');
    const base = account(tiny);
    const result = account(tiny, { adapter: dir });
    const file = join(dir, 'adapter_model.safetensors');
    expect(result.bytes).toBe(base.bytes + statSync(file).size);
    expect(result.files).toEqual([...base.files, file]);
    const config = JSON.parse(readFileSync(join(dir, 'adapter_config.json'), 'utf8'));
    const { adapter } = result;
    expect(adapter).toMatchObject({ dir, r: config.r, loraAlpha: config.lora_alpha });
    expect(result.parameters - base.parameters).toBe(adapter!.parameters);
    expect(result.storedElements - base.storedElements).toBe(adapter!.parameters);
    expect(result.bytesByCategory.find(({ category }) => category === 'adapter')!.bytes).toBe(
      4 * adapter!.parameters,
    );
  });

  test('weights that are not those of config.json are an error that names both counts', () => {
    const dir = join(folder, 'lying');
    const model = loadModel(tiny);
    saveModel(dir, model, undefined);
    model.dispose();
    const path = join(dir, 'config.json');
    const config = JSON.parse(readFileSync(path, 'utf8'));
    config.text_config.num_hidden_layers = 4;
    writeFileSync(path, JSON.stringify(config));
    const { parameters } = account(tiny);
    expect(() => account(dir)).toThrow(`the weights have ${parameters}`);
    expect(() => account(dir)).toThrow(path);
  });

  test('makes no tensor', () => {
    const made = jest.spyOn(Tensor, 'from');
    account(tiny);
    expect(made).not.toHaveBeenCalled();
    made.mockRestore();
  });
});

function loadedShape(dir: string): ReturnType<typeof parseConfig> {
  return parseConfig(JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')));
}
