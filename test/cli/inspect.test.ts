import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { account } from '../../lib/qwen2-audio/accounting';
import { writeTinyCheckpoint } from '../tiny-checkpoint';
import { jsonLines, oneLine, pare } from './invoke';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-inspect-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const tiny = join(__dirname, '../oracle/vectors/tiny-model');

describe('pare inspect', () => {
  test('gives the counts of a checkpoint that transformers wrote', async () => {
    const { exitCode, stdout, stderr } = await pare('inspect', tiny, '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const [result, ...more] = jsonLines(stdout);
    expect(more).toEqual([]);
    expect(result).toEqual(account(tiny));
    expect(result).toMatchObject({
      decoderLayers: 5,
      encoderLayers: 2,
      quantization: null,
      dtype: 'float32',
      vocabulary: 256,
      adapter: null,
    });
    expect(result!.storedElements).toBe(result!.parameters);
  });

  test('shows them to people', async () => {
    const { exitCode, stdout } = await pare('inspect', tiny);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^decoder layers +5$/m);
    expect(stdout).toMatch(/^stored as +float32$/m);
    expect(stdout).toMatch(/^bytes: decoder +[\d,]+$/m);
  });

  test('counts an adapter in', async () => {
    const adapter = join(__dirname, '../oracle/vectors/adapter-lora');
    const { stdout } = await pare('inspect', tiny, '--adapter', adapter, '--json');
    const [result] = jsonLines(stdout);
    const base = account(tiny);
    const { parameters } = result!.adapter as { parameters: number };
    expect(parameters).toBeGreaterThan(0);
    expect(result!.parameters).toBe(base.parameters + parameters);
    expect((await pare('inspect', tiny, '--adapter', adapter)).stdout).toMatch(/^adapter +r \d/m);
  });

  test('a truncated weight file is named', async () => {
    const model = join(folder, 'truncated');
    writeTinyCheckpoint(model);
    truncateSync(join(model, 'model.safetensors'), 5000);
    const result = await pare('inspect', model, '--json');
    expect(result).toMatchObject({ exitCode: 1, stdout: '' });
    expect(result.stderr).toMatch(oneLine);
    expect(result.stderr).toContain(join(model, 'model.safetensors'));
  });
});
