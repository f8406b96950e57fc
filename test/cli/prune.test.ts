import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pruneCheckpoint } from '../../lib/compress/prune-checkpoint';
import { quantizeCheckpoint } from '../../lib/compress/quantize-checkpoint';
import { loadModel } from '../../lib/qwen2-audio';
import { account } from '../../lib/qwen2-audio/accounting';
import { checkpointTensors } from '../../lib/qwen2-audio/weight-file';
import { NewCheckpoint } from '../../lib/qwen2-audio/new-checkpoint';
import type { FileRange } from '../../lib/qwen2-audio/read-ahead';
import { synthesizeCheckpoint } from '../../lib/qwen2-audio/synthesize';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';
import { jsonLines, oneLine, pare } from './invoke';

jest.setTimeout(120_000);

/** The bytes of a range of a file. */
function bytesOf({ path: file, offset, bytes }: FileRange): Buffer {
  return readFileSync(file).subarray(offset, offset + bytes);
}

let folder: string;
let model: string;
const path = (name: string): string => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-prune-'));
  model = path('model');
  writeTinyCheckpoint(model, { decoderLayers: 6 });
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('pare prune', () => {
  test('writes the layers that are left, which translate as the same layers of the model', async () => {
    const output = path('pruned');
    const args = ['prune', model, '--layers', '1,3-4', '--output', output, '--json'];
    const { exitCode, stdout, stderr } = await pare(...args);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const { decoderLayers, parameters, storedElements, bytes } = account(output);
    expect(decoderLayers).toBe(3);
    const sizes = { decoderLayers, parameters, storedElements, bytes };
    const verified = checkpointTensors(output).size;
    expect(jsonLines(stdout)).toEqual([{ output, removed: [1, 3, 4], verified, ...sizes }]);
    const whole = account(model);
    expect((whole.parameters - parameters) % 3).toBe(0);
    expect(parameters).toBeLessThan(whole.parameters);

    const sound = path('tone.wav');
    writeTone(sound, 1, 400);
    const request = { to: 'German', maxNewTokens: 8 };
    const full = await SpeechTranslator.load(model);
    const view = new SpeechTranslator(full.model.withLayers([0, 2, 5]), full.processor);
    const expected = await view.translate(sound, request);
    const unpruned = await full.translate(sound, request);
    full.dispose();
    const pruned = await SpeechTranslator.load(output);
    const { tokenIds } = await pruned.translate(sound, request);
    pruned.dispose();
    expect(tokenIds).toEqual(expected.tokenIds);
    expect(tokenIds).not.toEqual(unpruned.tokenIds);
  });

  test('says in words what it wrote', async () => {
    const output = path('in-words');
    const { stdout } = await pare('prune', model, '--layers', '2', '--output', output);
    expect(stdout).toMatch(
      /: 5 decoder layers, [\d,]+ parameters, [\d,]+ bytes; \d+ tensors copied and compared\n$/,
    );
  });

  test('the first and the last layer go only where that is allowed', async () => {
    const output = path('edges');
    for (const [layers, which] of [
      ['0', 'first'],
      ['3,5', 'last'],
    ]) {
      const refused = await pare('prune', model, '--layers', layers!, '--output', output);
      expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
      expect(refused.stderr).toMatch(oneLine);
      expect(refused.stderr).toContain(which);
    }
    expect(existsSync(output)).toBe(false);
    const args = ['--layers', '0,5', '--output', output, '--allow-edges'];
    expect((await pare('prune', model, ...args)).exitCode).toBe(0);
    expect(account(output).decoderLayers).toBe(4);
  });

  test('refuses what cannot be, and leaves nothing', async () => {
    const output = path('refused');
    const refuse = async (layers: string, to: string, from = model): Promise<string> => {
      const args = ['--layers', layers, '--output', to, '--allow-edges'];
      const result = await pare('prune', from, ...args);
      expect(result).toMatchObject({ exitCode: 1, stdout: '' });
      expect(result.stderr).toMatch(oneLine);
      return result.stderr;
    };
    expect(await refuse('6', output)).toContain('layers 0 to 5');
    expect(await refuse('0-5', output)).toContain('all 6');
    mkdirSync(path('taken'));
    expect(await refuse('2', path('taken'))).toContain('exists already');
    expect(await refuse('2', output, path('nowhere'))).toContain(path('nowhere'));
    const adapted = path('adapted');
    cpSync(model, adapted, { recursive: true });
    cpSync(join(__dirname, '../oracle/vectors/adapter-lora'), join(adapted, 'adapter'), {
      recursive: true,
    });
    expect(await refuse('2', output, adapted)).toContain('has an adapter');
    expect(await refuse('2', '/proc/pare-pruned')).toContain('cannot write /proc/pare-pruned');
    expect(await refuse('2', join(model, 'config.json', 'below'))).toContain('cannot write');
    expect(existsSync(output)).toBe(false);
    expect(readdirSync(folder).filter((name) => name.includes('.tmp-'))).toEqual([]);
  });

  test.each([
    ['bfloat16 in several files', {}, undefined],
    ['NF4 in several files', { lmHead: true, skip: ['layers.3.mlp.up_proj', 'o_proj'] }, 'nf4'],
  ] as const)('%s: every tensor that is left is the same', async (_, quantization, kind) => {
    const [whole, source, output] = [`whole-${kind}`, `source-${kind}`, `left-${kind}`].map(path);
    await synthesizeCheckpoint('qwen2-audio-tiny', whole!, { maxShardSize: 500_000 });
    if (kind === undefined) cpSync(whole!, source!, { recursive: true });
    else await quantizeCheckpoint(whole!, source!, { ...quantization, maxShardSize: 300_000 });
    const heard: number[][] = [];
    const { verified, kept } = await pruneCheckpoint(source!, [1, 2], output!, {
      maxShardSize: 200_000,
      onProgress: (done, total) => heard.push([done, total]),
    });
    // Each byte is copied and read again.
    const total =
      2 * [...checkpointTensors(output!).values()].reduce((n, t) => n + t.range.bytes, 0);
    expect([heard[0]![0], heard.at(-1)![0]]).toEqual([0, total]);
    expect(kept).toEqual([0, 3]);
    const before = checkpointTensors(source!);
    const after = checkpointTensors(output!);
    expect(verified).toBe(after.size);
    const old = (name: string): string => name.replace('model.layers.1.', 'model.layers.3.');
    for (const [name, { dtype, shape, range }] of after) {
      const was = before.get(old(name))!;
      expect([name, dtype, shape]).toEqual([name, was.dtype, was.shape]);
      if (!bytesOf(range).equals(bytesOf(was.range))) throw new Error(`${name} differs`);
    }
    expect(new Set(Array.from(after.values(), ({ range }) => range.path)).size).toBeGreaterThan(2);
    const config = JSON.parse(readFileSync(join(output!, 'config.json'), 'utf8')) as {
      text_config: Record<string, unknown>;
      quantization_config?: { llm_int8_skip_modules: string[] };
    };
    expect(config).toMatchObject({ tie_word_embeddings: false, dtype: 'bfloat16' });
    expect(config.text_config).toMatchObject({
      num_hidden_layers: 2,
      layer_types: ['full_attention', 'full_attention'],
      tie_word_embeddings: false,
    });
    const layers = 'language_model.model.layers';
    expect(config.quantization_config?.llm_int8_skip_modules).toEqual(
      kind && [
        `${layers}.0.self_attn.o_proj`,
        `${layers}.1.self_attn.o_proj`,
        `${layers}.1.mlp.up_proj`,
      ],
    );
    // What the shorter of two models in memory would be.
    using short = loadModel(source!);
    const view = short.withLayers([0, 3]);
    using pruned = loadModel(output!);
    for (const [name, value] of view.namedTensors()) {
      if (!pruned.stateDict().get(name)!.equal(value)) throw new Error(`${name} differs`);
    }
  });

  test('a disk that gives back other bytes than were written is noticed', async () => {
    const output = path('flipped');
    const write = jest.spyOn(NewCheckpoint.prototype, 'writeIndex');
    write.mockImplementationOnce(function (this: NewCheckpoint) {
      const file = this.path('model.safetensors');
      const bytes = readFileSync(file);
      bytes[bytes.length - 1000]! ^= 1;
      writeFileSync(file, bytes);
    });
    await expect(pruneCheckpoint(model, [2], output)).rejects.toThrow(
      /flipped: tensor \S+ is not what was written; check the disk/,
    );
    write.mockRestore();
    expect(readdirSync(folder).filter((name) => name.startsWith('flipped'))).toEqual([]);
  });
});
