/** Checkpoints that cannot be read or written: one line that names the file and the remedy. */
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FeatureConfigError } from '../../lib/audio';
import { PareError } from '../../lib/errors';
import { FileError } from '../../lib/files';
import { QuantStateError } from '../../lib/nf4';
import {
  CheckpointError,
  ConfigError,
  loadModel,
  Processor,
  saveModel,
} from '../../lib/qwen2-audio';
import { Tokenizer } from '../../lib/text';
import {
  loadSafetensors,
  memory,
  SafetensorsError,
  writeSafetensors,
  zeros,
} from '../../lib/torch';
import { copyTiny, loadTiny, quantizeLinears, rename, vectorsFolder } from './tiny-model';

jest.setTimeout(120_000);
let folder: string;
let dir: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-damaged-'));
  dir = join(folder, 'model');
});
afterEach(() => rmSync(folder, { recursive: true }));

type ErrorClass = abstract new (...args: never[]) => PareError;

/** The error is typed, has one line, names each of `parts` and ends with what to do. */
function expectError(body: () => unknown, type: ErrorClass, ...parts: string[]): void {
  let error: unknown;
  try {
    body();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(type);
  const { message } = error as PareError;
  for (const part of parts) expect(message).toContain(part);
  const remedy = type === FileError || type === QuantStateError ? ': ' : '; ';
  expect(message.split(remedy).length).toBeGreaterThan(1);
  expect(message).not.toContain('\n');
}

const refused = (type: ErrorClass, ...parts: string[]): void =>
  expectError(() => loadModel(dir), type, ...parts);

const file = (name: string): string => join(dir, name);

type Json = Record<string, unknown>;
function editConfig(edit: (json: Json & { text_config: Json; audio_config: Json }) => void): void {
  const json = JSON.parse(readFileSync(file('config.json'), 'utf8')) as never;
  edit(json);
  writeFileSync(file('config.json'), JSON.stringify(json));
}

describe('a folder', () => {
  test('that is missing, empty or a file', () => {
    refused(CheckpointError, dir);
    mkdirSync(dir);
    refused(CheckpointError, dir, 'config.json');
    rmSync(dir, { recursive: true });
    writeFileSync(dir, 'not a folder');
    refused(CheckpointError, dir);
  });

  test('without weights', () => {
    copyTiny(dir);
    rmSync(file('model.safetensors'));
    refused(CheckpointError, dir, 'model.safetensors');
  });
});

describe('weights', () => {
  const projector = 'multi_modal_projector.linear.bias';
  beforeEach(() => copyTiny(dir));

  test('of which a shard is missing', () => {
    rmSync(dir, { recursive: true });
    saveModel(dir, loadTiny(), undefined, { maxShardSize: 100_000 });
    const shard = readdirSync(dir).find((name) => name.startsWith('model-00002'))!;
    rmSync(file(shard));
    refused(CheckpointError, file(shard), 'fetch it again');
  });

  test('whose index names a tensor that its shard does not have', () => {
    rmSync(dir, { recursive: true });
    saveModel(dir, loadTiny(), undefined, { maxShardSize: 100_000 });
    const shard = file(readdirSync(dir).find((name) => name.startsWith('model-00001'))!);
    const tensors = [...loadSafetensors(shard)];
    writeSafetensors(shard, tensors.slice(1));
    refused(CheckpointError, dir, tensors[0]![0]);
  });

  test('with a broken index', () => {
    rmSync(file('model.safetensors'));
    const index = file('model.safetensors.index.json');
    for (const content of ['{', '[]', '{}', '{"weight_map": 3}', '{"weight_map": {}}']) {
      writeFileSync(index, content);
      refused(CheckpointError, index);
    }
  });

  test('of which a tensor is missing, unexpected or misshapen', () => {
    rename(dir, (name) => (name === projector ? undefined : name));
    refused(CheckpointError, dir, projector, 'missing');
    rename(dir, (name) => name.replace('conv1.bias', 'conv3.bias'));
    refused(CheckpointError, dir, 'conv1.bias');
    copyTiny(dir);
    const path = file('model.safetensors');
    const state = loadSafetensors(path);
    writeSafetensors(path, new Map(state).set('extra.weight', zeros([2])));
    refused(CheckpointError, dir, 'extra.weight');
    writeSafetensors(path, new Map(state).set(projector, zeros([41])));
    refused(CheckpointError, dir, projector, '[41]', '[40]');
    writeSafetensors(path, new Map(state).set(projector, zeros([40], { dtype: 'int64' })));
    refused(CheckpointError, dir, projector, 'int64');
  });

  test('of more than one dtype, unless one is asked for', () => {
    const path = file('model.safetensors');
    const state = loadSafetensors(path);
    const half = state.get(projector)!.to('float16');
    writeSafetensors(path, new Map(state).set(projector, half));
    refused(CheckpointError, dir, projector, 'float16', 'load it with one dtype');
    loadModel(dir, { dtype: 'float32' }).dispose();
  });

  test('that config.json makes wider than memory', () => {
    editConfig((json) => {
      Object.assign(json.text_config, { hidden_size: 2 ** 40, head_dim: undefined });
    });
    refused(CheckpointError, dir, 'embed_tokens.weight', String(2 ** 40));
  });

  test('that do not load leave no tensor behind', () => {
    rename(dir, (name) => (name === projector ? undefined : name));
    const before = memory().handles;
    refused(CheckpointError, projector);
    expect(memory().handles).toBe(before);
  });

  test('with a gap in the layers, or another number than the config says', () => {
    rename(dir, (name) => name.replace('layers.2.', 'layers.7.'));
    refused(ConfigError, file('config.json'), '5 decoder layers', 'layer 2');
    copyTiny(dir);
    editConfig((json) => (json.text_config.num_hidden_layers = 6));
    refused(ConfigError, file('config.json'), '6 decoder layers', 'have 5');
    editConfig((json) => (json.text_config.num_hidden_layers = 4));
    refused(ConfigError, file('config.json'), '4 decoder layers', 'have 5');
    copyTiny(dir);
    editConfig((json) => (json.audio_config.encoder_layers = 3));
    refused(CheckpointError, dir, 'audio_tower.layers.2');
  });

  test.each([
    ['cut in the middle', 200_000],
    ['cut in the header', 600],
    ['empty', 0],
  ])('%s', (_, size) => {
    truncateSync(file('model.safetensors'), size);
    refused(SafetensorsError, file('model.safetensors'), 'truncated');
  });

  test('whose lm_head has other tokens than the embeddings', () => {
    const path = file('model.safetensors');
    const name = 'language_model.lm_head.weight';
    rename(dir, (stored) => (stored.endsWith('lm_head.weight') ? name : stored));
    writeSafetensors(path, new Map(loadSafetensors(path)).set(name, zeros([250, 40])));
    refused(CheckpointError, dir, name, '[250,40]', '[256,40]');
  });

  test('of far fewer layers than the config says, at once', () => {
    editConfig((json) => (json.text_config.num_hidden_layers = 1e15));
    refused(ConfigError, file('config.json'), '1000000000000000 decoder layers', 'have 5');
    copyTiny(dir);
    editConfig((json) => (json.audio_config.encoder_layers = 1e15));
    refused(CheckpointError, dir, 'audio_tower.layers.2');
    copyTiny(dir);
    editConfig((json) => (json.text_config.intermediate_size = 2 ** 40));
    refused(CheckpointError, dir, 'mlp.up_proj.weight', String(2 ** 40));
  });

  test('with an index that leads out of the folder', () => {
    rmSync(file('model.safetensors'));
    const index = file('model.safetensors.index.json');
    for (const shard of ['../elsewhere.safetensors', '/etc/passwd', 'config.json', 7, {}]) {
      writeFileSync(index, JSON.stringify({ weight_map: { a: shard } }));
      refused(CheckpointError, index, JSON.stringify(shard), 'no safetensors file beside it');
    }
  });

  test('in NF4 that lack a part, a bias, or have another shape', () => {
    rmSync(dir, { recursive: true });
    saveModel(dir, quantizeLinears(loadTiny()), undefined);
    const path = file('model.safetensors');
    const whole = loadSafetensors(path);
    const without = (name: string): void => {
      const state = new Map(whole);
      if (!state.delete(name)) throw new Error(`no ${name}`);
      writeSafetensors(path, state);
    };
    const layer = 'language_model.model.layers.1';
    without(`${layer}.mlp.up_proj.weight.absmax`);
    refused(QuantStateError, dir, `${layer}.mlp.up_proj.weight.absmax`);
    without(`${layer}.self_attn.q_proj.bias`);
    refused(CheckpointError, dir, `${layer}.self_attn.q_proj.bias`);
    const swapped = new Map(whole);
    for (const [name, value] of whole) {
      if (name.startsWith(`${layer}.mlp.up_proj`)) {
        swapped.set(name.replace('up_proj', 'down_proj'), value);
      }
    }
    writeSafetensors(path, swapped);
    refused(CheckpointError, dir, `${layer}.mlp.down_proj.weight`, '[48,40]', '[40,48]');
    without(`${layer}.mlp.up_proj.weight.quant_state.bitsandbytes__nf4`);
    refused(CheckpointError, dir, `${layer}.mlp.up_proj.weight`);
  });
});

describe('a config', () => {
  beforeEach(() => copyTiny(dir));

  test.each(['{', '', '[1]', 'null'])('that is no JSON object: %j', (content) => {
    writeFileSync(file('config.json'), content);
    refused(CheckpointError, file('config.json'));
  });

  test('of the generation that is no JSON', () => {
    writeFileSync(file('generation_config.json'), '{"eos');
    refused(CheckpointError, file('generation_config.json'), 'fetch it again');
  });

  test('of another architecture', () => {
    for (const type of ['whisper', undefined]) {
      editConfig((json) => (json.model_type = type));
      refused(ConfigError, file('config.json'), String(type ?? 'missing'), 'qwen2_audio');
    }
  });

  test.each<[string, (json: Json & { text_config: Json; audio_config: Json }) => void]>([
    ['audio_config', (json) => Reflect.deleteProperty(json, 'audio_config')],
    ['text_config', (json) => Reflect.set(json, 'text_config', 'large')],
    ['hidden_size', (json) => (json.text_config.hidden_size = -40)],
    ['vocab_size', (json) => (json.text_config.vocab_size = '256')],
    ['num_hidden_layers', (json) => (json.text_config.num_hidden_layers = 4.5)],
    ['d_model', (json) => (json.audio_config.encoder_attention_heads = 5)],
    ['num_key_value_heads', (json) => (json.text_config.num_key_value_heads = 3)],
    ['rope_type', (json) => (json.text_config.rope_parameters = { rope_type: 'yarn' })],
    ['rope_scaling', (json) => (json.text_config.rope_scaling = { type: 'linear', factor: 4 })],
    ['sliding', (json) => (json.text_config.use_sliding_window = true)],
    ['hidden_act', (json) => (json.text_config.hidden_act = 'gelu')],
    ['head_dim', (json) => (json.text_config.head_dim = 7.5)],
    ['rope_parameters', (json) => (json.text_config.rope_parameters = 'default')],
    ['eos_token_id', (json) => (json.text_config.eos_token_id = 'x')],
    ['pad_token_id', (json) => (json.text_config.pad_token_id = 1.5)],
    ['audio_token_index', (json) => (json.audio_token_index = 0.5)],
    ['activation_function', (json) => (json.audio_config.activation_function = 'relu')],
  ])('with an impossible %s', (key, edit) => {
    editConfig(edit);
    refused(ConfigError, file('config.json'), key);
  });

  test('of other sizes than the weights', () => {
    editConfig((json) => (json.text_config.vocab_size = 512));
    refused(CheckpointError, dir, 'embed_tokens', '[256,40]', '[512,40]');
  });
});

describe('writing', () => {
  test('leaves nothing of a folder that could not be finished', () => {
    const tokenizer = Tokenizer.fromPretrained(join(vectorsFolder, 'processor/tokenizer'));
    // 75 positions are 1.5 s, which preprocessor_config.json cannot express.
    const odd = new Processor({ tokenizer, maxSourcePositions: 75 });
    expectError(() => saveModel(dir, loadTiny(), odd), FeatureConfigError);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('below a file', () => {
    writeFileSync(dir, 'a file');
    expectError(() => saveModel(join(dir, 'model'), loadTiny(), undefined), FileError, dir);
    expect(readdirSync(folder)).toEqual(['model']);
  });

  const disk = mountSmallDisk(256);
  afterAll(() => {
    if (disk === undefined) return;
    // Lazily: tensors mapped from it may still be alive.
    execFileSync('umount', ['-l', disk]);
    rmSync(disk, { recursive: true });
  });
  (disk === undefined ? test.skip : test)('on a disk of 256 kB', () => {
    for (const maxShardSize of [undefined, 50_000]) {
      const on = (): void =>
        saveModel(join(disk!, 'model'), loadTiny(), undefined, { maxShardSize });
      expectError(on, FileError, join(disk!, 'model'), 'disk is full', 'free some space');
      expect(readdirSync(disk!)).toEqual([]);
    }
    saveModel(join(disk!, 'model'), loadTiny(), undefined, { dtype: 'bfloat16' });
    expect(loadModel(join(disk!, 'model')).layers).toHaveLength(5);
  });
});

/** A file system of so many kilobytes, where the user may mount one. */
function mountSmallDisk(kilobytes: number): string | undefined {
  const at = mkdtempSync(join(tmpdir(), 'pare-disk-'));
  try {
    const options = ['-t', 'tmpfs', '-o', `size=${kilobytes}k`, 'tmpfs', at];
    execFileSync('mount', options, { stdio: 'ignore' });
    return at;
  } catch {
    rmSync(at, { recursive: true });
    process.stdout.write('The test of a full disk is skipped: only root may mount a small one.\n');
    return undefined;
  }
}
