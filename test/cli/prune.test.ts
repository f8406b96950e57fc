import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { account } from '../../lib/qwen2-audio/accounting';
import { checkpointTensors } from '../../lib/qwen2-audio/weight-file';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';
import { jsonLines, oneLine, pare } from './invoke';

jest.setTimeout(120_000);

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
    expect(existsSync(output)).toBe(false);
    expect(readdirSync(folder).filter((name) => name.includes('.tmp-'))).toEqual([]);
  });
});
