/** Quantising a checkpoint that is never in memory, on disk and while it is loaded. */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CompressionError, quantizeModel, type QuantizeModelOptions } from '../../lib/compress';
import { loadQuantized } from '../../lib/compress/load-quantized';
import { quantizeCheckpoint } from '../../lib/compress/quantize-checkpoint';
import { loadModel, Processor, saveModel } from '../../lib/qwen2-audio';
import { account } from '../../lib/qwen2-audio/accounting';
import { synthesizeCheckpoint } from '../../lib/qwen2-audio/synthesize';
import { checkpointTensors } from '../../lib/qwen2-audio/weight-file';
import { memory } from '../../lib/torch';
import { dtypeSize } from '../../lib/torch/dtype';

jest.setTimeout(120_000);
let folder: string;
const path = (name: string): string => join(folder, name);

/** Widths of which some packed weights are no multiple of eight bytes. */
const odd = {
  'text_config.hidden_size': 10,
  'text_config.num_attention_heads': 1,
  'text_config.num_key_value_heads': 1,
  'audio_config.d_model': 6,
  'audio_config.encoder_attention_heads': 1,
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-on-disk-'));
  await synthesizeCheckpoint('qwen2-audio-tiny', path('even'), { maxShardSize: 700_000 });
  await synthesizeCheckpoint('qwen2-audio-tiny', path('odd'), { set: odd, dtype: 'float32' });
});
afterAll(() => rmSync(folder, { recursive: true }));

type Options = QuantizeModelOptions & { maxShardSize?: number; dtype?: 'float32' | 'bfloat16' };

function files(dir: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(dir).map((name) => [name, readFileSync(join(dir, name)).toString('base64')]),
  );
}

/** Not `toEqual`: what it would print of a megabyte helps nobody. */
function expectSameFiles(a: string, b: string): void {
  const [own, other] = [files(a), files(b)];
  expect(Object.keys(own)).toEqual(Object.keys(other));
  const different = Object.keys(own).filter((name) => own[name] !== other[name]);
  expect(different).toEqual([]);
}

test.each<[string, string, Options]>([
  ['as usual', 'even', {}],
  ['all packed', 'even', { lmHead: true, embeddings: true }],
  ['one absmax in float32', 'even', { doubleQuant: false, blockSize: 32 }],
  ['in several files', 'even', { maxShardSize: 200_000 }],
  ['some layers left', 'even', { skip: ['o_proj', 'layers.1.mlp.down_proj'] }],
  ['the rest in float32', 'even', { dtype: 'float32' }],
  ['odd widths', 'odd', {}],
  ['odd widths, in several files', 'odd', { maxShardSize: 5_000, lmHead: true }],
])('%s (%s): the bytes of quantising in memory', async (_, source, options) => {
  const { maxShardSize, dtype, ...quantization } = options;
  const [memoryDir, disk, loaded] = ['memory', 'disk', 'loaded'].map(path) as [
    string,
    string,
    string,
  ];
  for (const dir of [memoryDir, disk, loaded]) rmSync(dir, { recursive: true, force: true });
  const before = memory().handles;
  using model = loadModel(path(source));
  const processor = Processor.fromPretrained(path(source), model.config);
  quantizeModel(model, quantization);
  saveModel(memoryDir, model, processor, { maxShardSize, dtype });
  const accounting = await quantizeCheckpoint(path(source), disk, options);
  expect(accounting).toEqual(account(disk));
  expect(accounting.quantization).toBe('nf4');
  expectSameFiles(disk, memoryDir);
  const streamed = await loadQuantized(path(source), quantization);
  saveModel(loaded, streamed, processor, { maxShardSize, dtype });
  expectSameFiles(loaded, memoryDir);
  model.dispose();
  streamed.dispose();
  expect(memory().handles).toBe(before);
});

test('every tensor lies where it can be mapped', async () => {
  const dir = path('aligned');
  await quantizeCheckpoint(path('odd'), dir, { lmHead: true });
  for (const { name, dtype, range } of checkpointTensors(dir).values()) {
    expect([name, range.offset % dtypeSize[dtype]]).toEqual([name, 0]);
  }
});

test('says how far it is, and leaves nothing when it is stopped', async () => {
  const heard: [number, number][] = [];
  const onProgress = (done: number, total: number): void => void heard.push([done, total]);
  await quantizeCheckpoint(path('even'), path('heard'), { onProgress });
  const total = heard[0]![1];
  expect(heard[0]).toEqual([0, total]);
  expect(heard.at(-1)).toEqual([total, total]);
  const interruption = new AbortController();
  const stop = (done: number): void => {
    if (done > total / 2) interruption.abort(new Error('enough'));
  };
  const { signal } = interruption;
  const before = memory().handles;
  const stopped = quantizeCheckpoint(path('even'), path('stopped'), { signal, onProgress: stop });
  await expect(stopped).rejects.toThrow('enough');
  await expect(loadQuantized(path('even'), { signal })).rejects.toThrow('enough');
  expect(readdirSync(folder).filter((name) => name.includes('stopped'))).toEqual([]);
  expect(memory().handles).toBe(before);
});

test('what cannot be quantised is refused before anything is written', async () => {
  const refuse = async (source: string, options: Options = {}): Promise<string> => {
    const error = await quantizeCheckpoint(source, path('refused'), options).then(
      () => undefined,
      (thrown: Error) => thrown,
    );
    expect(error).toBeInstanceOf(CompressionError);
    expect(existsSync(path('refused'))).toBe(false);
    return error!.message;
  };
  await quantizeCheckpoint(path('even'), path('packed'));
  expect(await refuse(path('packed'))).toContain('in 4 bits already');
  expect(await refuse(path('even'), { skip: ['no_such'] })).toContain('no_such');
  expect(await refuse(path('odd'), { embeddings: true })).toContain('blocks of 64');
  cpSync(path('even'), path('adapted'), { recursive: true });
  const adapter = join(__dirname, '../oracle/vectors/adapter-lora');
  cpSync(adapter, join(path('adapted'), 'adapter'), { recursive: true });
  expect(await refuse(path('adapted'))).toContain('has an adapter');
});

test('a checkpoint that is in 4 bits already loads as it is', async () => {
  const dir = path('already');
  await quantizeCheckpoint(path('even'), dir);
  using packed = await loadQuantized(dir);
  using plain = loadModel(dir);
  expect([...packed.stateDict().keys()]).toEqual([...plain.stateDict().keys()]);
  for (const [name, value] of plain.stateDict()) {
    if (!packed.stateDict().get(name)!.equal(value)) throw new Error(`${name} differs`);
  }
});
