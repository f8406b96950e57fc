import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileError } from '../../lib/files';
import { attachLora, loadAdapter, LoraError, LoraLinear, saveAdapter } from '../../lib/lora';
import { Generator, loadSafetensors, nn, noGrad, randn, SafetensorsError } from '../../lib/torch';
import { writeSafetensors, zeros, type DType, type Tensor } from '../../lib/torch';
import { Network } from './network';

const generator = (): Generator => new Generator(7);
let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'pare-lora-'))));
afterEach(() => rmSync(folder, { recursive: true }));

const at = (name: string): string => join(folder, name);

/** Module names as in Qwen2-Audio, in small. */
class Small extends nn.Module {
  audioTower: Network = new Network({ generator: generator() });
  languageModel: Decoder = new Decoder();
}
class Decoder extends nn.Module {
  model: Network = new Network({ generator: generator() });
  lmHead: nn.Linear = new nn.Linear(7, 9, { generator: generator() });
}

function saved(targetModules: string | string[] = 'all-linear', dtype?: DType): Small {
  const model = new Small();
  const config = { r: 2, loraAlpha: 3, useRslora: true, loraDropout: 0.25, targetModules };
  const adapter = attachLora(model, config, { generator: generator(), dtype });
  noGrad(() => {
    for (const value of adapter.parameters().values()) {
      value.copy_(randn(value.shape, { generator: generator() }));
    }
  });
  saveAdapter(folder, adapter, { baseModelNameOrPath: 'some-base' });
  return model;
}

function editConfig(change: Record<string, unknown>): void {
  const path = at('adapter_config.json');
  const raw = JSON.parse(readFileSync(path, 'utf8')) as object;
  writeFileSync(path, JSON.stringify({ ...raw, ...change }));
}

function editTensors(edit: (tensors: Map<string, Tensor>) => Iterable<[string, Tensor]>): void {
  const path = at('adapter_model.safetensors');
  writeSafetensors(path, edit(loadSafetensors(path)));
}

const key = 'base_model.model.model.audio_tower.q_proj.lora_A.weight';

describe('saved and loaded', () => {
  test('the same tensors and configuration', () => {
    const state = saved().stateDict();
    expect(readdirSync(folder).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
    ]);
    const other = new Small();
    const adapter = loadAdapter(folder, other);
    expect(adapter.config).toMatchObject({
      r: 2,
      loraAlpha: 3,
      useRslora: true,
      loraDropout: 0.25,
    });
    const names = [...adapter.parameters().keys()];
    // all-linear leaves the output embedding of the decoder and the network's own lm_head alone.
    expect(names).toHaveLength(8);
    for (const [name, value] of adapter.parameters()) {
      expect(value.equal(state.get(name)!)).toBe(true);
      expect(value.requiresGrad).toBe(true);
    }
    expect([...other.namedParameters()].map(([name]) => name)).toEqual(names);
  });

  test('over an earlier one', () => {
    saved(['q_proj']);
    saved(['o_proj']);
    expect(readdirSync(folder)).toHaveLength(2);
    const adapter = loadAdapter(folder, new Small());
    expect([...adapter.layers.keys()]).toEqual([
      'audio_tower.o_proj',
      'language_model.model.o_proj',
    ]);
  });

  test('target_modules: ends of names where they are enough, whole names where not', () => {
    const targets = (): unknown =>
      (JSON.parse(readFileSync(at('adapter_config.json'), 'utf8')) as Record<string, unknown>)
        .target_modules;
    saved('.*_proj');
    expect(targets()).toEqual(['o_proj', 'q_proj']);
    saved('language_model.*[qo]_proj');
    expect(targets()).toEqual(['model.language_model.o_proj', 'model.language_model.q_proj']);
    expect([...loadAdapter(folder, new Small()).layers.keys()]).toEqual([
      'language_model.model.q_proj',
      'language_model.model.o_proj',
    ]);
  });

  test('a bfloat16 adapter stays one in the file and is read as float32 or as asked', () => {
    saved('all-linear', 'bfloat16');
    const dtypeOf = (options: { dtype?: DType }): DType =>
      [...loadAdapter(folder, new Small(), options).parameters().values()][0]!.dtype;
    expect(loadSafetensors(at('adapter_model.safetensors')).get(key)!.dtype).toBe('bfloat16');
    expect(dtypeOf({})).toBe('float32');
    expect(dtypeOf({ dtype: 'bfloat16' })).toBe('bfloat16');
  });

  test('names of transformers 4, and a pattern over them', () => {
    const state = saved().stateDict();
    editTensors((tensors) =>
      Array.from(tensors, ([name, value]) => [
        name
          .replace('model.model.audio_tower', 'model.audio_tower')
          .replace('model.model.language_model', 'model.language_model.model'),
        value,
      ]),
    );
    editConfig({ target_modules: '(audio_tower|language_model.model).[qo]_proj' });
    const adapter = loadAdapter(folder, new Small());
    expect(adapter.layers.size).toBe(4);
    for (const [name, value] of adapter.parameters()) {
      expect(value.equal(state.get(name)!)).toBe(true);
    }
  });

  test('a pattern over the names of transformers 5', () => {
    saved();
    editConfig({ target_modules: 'model.(audio_tower|language_model).[qo]_proj' });
    expect(loadAdapter(folder, new Small()).layers.size).toBe(4);
  });
});

describe('what cannot be loaded', () => {
  const expectError = (
    message: string | RegExp,
    type: new (m: string) => Error = LoraError,
  ): void => {
    const model = new Small();
    const load = (): unknown => loadAdapter(folder, model);
    expect(load).toThrow(type);
    expect(load).toThrow(message);
    expect(load).toThrow(expect.objectContaining({ message: expect.not.stringContaining('\n') }));
    expect(model.audioTower.qProj).not.toBeInstanceOf(LoraLinear);
    expect(model.audioTower.qProj.weight.requiresGrad).toBe(true);
  };

  test.each([
    [{ bias: 'all' }, 'bias "all" is not supported'],
    [{ use_dora: true }, 'use_dora true is not supported'],
    [{ modules_to_save: ['lm_head'] }, 'modules_to_save ["lm_head"] is not supported'],
    [{ lora_bias: true }, 'lora_bias true is not supported'],
    [{ rank_pattern: { q_proj: 8 } }, 'rank_pattern {"q_proj":8} is not supported'],
    [{ layers_to_transform: 0 }, 'layers_to_transform 0 is not supported'],
    [{ init_lora_weights: 'pissa' }, 'init_lora_weights "pissa" is not supported'],
    [{ some_new_option: 3 }, 'some_new_option 3 is not supported'],
    [{ peft_type: 'IA3' }, 'peft_type is "IA3"; only "LORA" can be loaded'],
    [{ r: undefined }, 'r is missing'],
    [{ r: '2' }, 'r cannot be "2"'],
    [{ r: 0 }, 'r must be a whole number'],
    [{ target_modules: null }, 'target_modules is missing'],
  ])('%j', (change, message) => {
    saved();
    editConfig(change);
    expectError(message);
    expectError(at('adapter_config.json'));
  });

  test('another rank, another width', () => {
    saved();
    editConfig({ r: 4 });
    expectError(/lora_A.weight has shape \[2, 6\], r 4 and the model need \[4, 6\].*some-base/);
    editConfig({ r: 2 });
    editTensors((tensors) => tensors.set(key, zeros([2, 8])));
    expectError(`${key} has shape [2, 8], r 2 and the model need [2, 6]`);
    editTensors((tensors) => tensors.set(key, zeros([2, 6], { dtype: 'int64' })));
    expectError(`${key} is int64`);
  });

  test('a missing tensor, a missing layer', () => {
    saved();
    editTensors((tensors) => [...tensors].filter(([name]) => name !== key));
    expectError('lora_A.weight of audio_tower.q_proj is missing');
    saved(['audio_tower.q_proj']);
    editConfig({ target_modules: ['q_proj'] });
    expectError('lora_A.weight of language_model.model.q_proj is missing');
  });

  test('an unexpected tensor, layer or name', () => {
    saved();
    editTensors((tensors) => tensors.set('base_model.model.lm_head.weight', zeros([2])));
    expectError('unexpected tensor base_model.model.lm_head.weight');
    saved();
    editTensors((tensors) => tensors.set(key.replace('q_proj', 'layers.9.q_proj'), zeros([2, 6])));
    expectError(
      'unexpected tensor base_model.model.model.audio_tower.layers.9.q_proj.lora_A.weight',
    );
    saved();
    editConfig({ target_modules: ['o_proj'] });
    expectError(/unexpected tensor .*q_proj.*target_modules/);
    saved();
    editTensors((tensors) => tensors.set(key.replace('model.model.', 'model.'), zeros([2, 6])));
    expectError(/is there twice/);
  });

  test('a base without such layers', () => {
    saved();
    expect(() => loadAdapter(folder, new nn.Linear(6, 6))).toThrow(/no linear layer matches/);
  });

  test.each([
    [['k_proj'], 'LoRA: no linear layer matches targetModules ["k_proj"]; near names: q_proj'],
    [['audio_tower'], 'LoRA: target model.audio_tower is no linear layer but a Network'],
    ['(q_proj', 'LoRA: targetModules "(q_proj" is no regular expression'],
  ])('target modules %j, with the name of the file', (target_modules, message) => {
    saved();
    editConfig({ target_modules });
    expectError(`${at('adapter_config.json')}: ${message}`);
  });

  test('files that are missing or broken', () => {
    saved();
    writeFileSync(at('adapter_model.safetensors'), 'short');
    expectError(at('adapter_model.safetensors'), SafetensorsError);
    rmSync(at('adapter_model.safetensors'));
    expectError(at('adapter_model.safetensors'), FileError);
    writeFileSync(at('adapter_config.json'), '{');
    expectError('is not JSON');
    writeFileSync(at('adapter_config.json'), '[]');
    expectError('must hold an object');
    rmSync(at('adapter_config.json'));
    expectError(at('adapter_config.json'), FileError);
  });
});

test('a folder that cannot be written is named, and nothing is left', () => {
  writeFileSync(at('file'), '');
  const model = new Small();
  const adapter = attachLora(model, { r: 2, loraAlpha: 2 }, { generator: generator() });
  expect(() => saveAdapter(at('file'), adapter)).toThrow(FileError);
  expect(() => saveAdapter(at('file'), adapter)).toThrow(at('file'));
  expect(readdirSync(folder)).toEqual(['file']);
  expect(existsSync(at('file'))).toBe(true);
});
