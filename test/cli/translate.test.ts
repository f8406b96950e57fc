import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attachLora, detachLora, saveAdapter } from '../../lib/lora';
import { loadModel } from '../../lib/qwen2-audio';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { Generator, noGrad, randn, scope } from '../../lib/torch';
import { writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';
import { jsonLines, oneLine, pare } from './invoke';

jest.setTimeout(120_000);

let folder: string;
let model: string;
let files: string[];
const path = (name: string): string => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-translate-'));
  model = path('model');
  writeTinyCheckpoint(model);
  files = [0.7, 1.6, 1.1].map((seconds, i) => {
    const file = path(`tone-${i}.wav`);
    writeTone(file, seconds, 200 + 150 * i, i === 1 ? 44100 : 16000);
    return file;
  });
});
afterAll(() => rmSync(folder, { recursive: true }));

const args = (...more: string[]): string[] => {
  const common = ['--to', 'German', '--max-new-tokens', '6', '--json'];
  return ['translate', '--model', model, ...common, ...more];
};
const withoutTime = ({ seconds: _, ...rest }: Record<string, unknown>): unknown => rest;

describe('pare translate', () => {
  test('gives an object a file, in their order, whatever the batch size', async () => {
    const { exitCode, stdout, stderr } = await pare(...args(...files));
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const results = jsonLines(stdout);
    expect(results.map(({ file }) => file)).toEqual(files);
    for (const result of results) {
      expect(Object.keys(result)).toEqual(['file', 'text', 'tokenIds', 'seconds']);
      expect(result).toMatchObject({ text: expect.any(String), seconds: expect.any(Number) });
      const ids = result.tokenIds as number[];
      expect(ids.every(Number.isInteger)).toBe(true);
      expect(ids.length).toBeGreaterThan(0);
      expect(ids.length).toBeLessThanOrEqual(6);
      expect(result.seconds).toBeGreaterThan(0);
    }
    const alone = await pare(...args('--batch-size', '1', ...files));
    expect(jsonLines(alone.stdout).map(withoutTime)).toEqual(results.map(withoutTime));
  });

  test('takes a language by name or code, in any case, and no other word', async () => {
    const [german, ...others] = await Promise.all(
      ['German', 'german', 'de', 'DE'].map((to) => pare(...args('--to', to, files[0]!))),
    );
    for (const { exitCode, stdout } of others) {
      expect(exitCode).toBe(0);
      expect(jsonLines(stdout).map(withoutTime)).toEqual(
        jsonLines(german!.stdout).map(withoutTime),
      );
    }
    for (const to of ['Klingon', '', 'xx']) {
      const { exitCode, stdout, stderr } = await pare(...args('--to', to, files[0]!));
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
      expect(stderr).toMatch(oneLine);
      expect(stderr).toContain('English name or two-letter code');
    }
    const none = await pare('translate', '--model', model, files[0]!);
    expect(none.exitCode).toBe(2);
    expect(none.stderr).toContain('add --to German');
    const own = await pare('translate', '--model', model, '--instruction', 'Say:', files[0]!);
    expect(own.exitCode).toBe(0);
  });

  test('equals the library, and the tokenizer made the text', async () => {
    const translator = SpeechTranslator.load(model);
    const request = { to: 'German', maxNewTokens: 6 };
    const { text, tokenIds } = await translator.translate(files[1]!, request);
    expect(text).toBe(translator.processor.tokenizer.decode(tokenIds).trim());
    const other = await translator.translate(files[1]!, { ...request, to: 'Chinese' });
    translator.dispose();
    expect(other.tokenIds).not.toEqual(tokenIds);
    const [result] = jsonLines((await pare(...args(files[1]!))).stdout);
    expect(result).toMatchObject({ text, tokenIds });
    const instruction = 'Translate the English speech into Chinese:';
    const asked = await pare(...args('--instruction', instruction, files[1]!));
    expect(jsonLines(asked.stdout)[0]!.tokenIds).toEqual(other.tokenIds);
  });

  test('computes in another dtype where one is given', async () => {
    const load = jest.spyOn(SpeechTranslator, 'load');
    const { exitCode } = await pare(...args('--dtype', 'bfloat16', files[0]!));
    expect(exitCode).toBe(0);
    expect(load).toHaveBeenCalledWith(model, { adapter: undefined, dtype: 'bfloat16' });
    load.mockRestore();
    expect((await pare(...args('--dtype', 'int8', files[0]!))).exitCode).toBe(2);
  });

  test('bad files are named, the others go on', async () => {
    const empty = path('empty.wav');
    writeFileSync(empty, '');
    const text = path('text.mp3');
    writeFileSync(text, 'this is no sound at all');
    const long = path('long.wav');
    writeTone(long, 2.5, 300);
    const missing = path('missing.flac');
    const all = [empty, files[0]!, text, long, files[2]!, missing];
    const { exitCode, stdout, stderr } = await pare(...args('--batch-size', '2', ...all));
    expect(exitCode).toBe(1);
    expect(jsonLines(stdout).map(({ file }) => file)).toEqual([files[0], files[2]]);
    const lines = stderr.trimEnd().split('\n');
    expect(lines).toHaveLength(4);
    for (const [i, file] of [empty, text, long, missing].entries()) {
      expect(lines[i]).toMatch(/^pare: /);
      expect(lines[i]).toContain(file);
    }
    expect(lines[2]).toContain('at most 2 s');
    const plain = await pare(...args(...all).filter((arg) => arg !== '--json'));
    const texts = jsonLines(stdout).map((result) =>
      String(result.text).replace(/[\p{Cc}\s]+/gu, ' '),
    );
    expect(plain.stdout).toBe(`\n${texts[0]}\n\n\n${texts[1]}\n\n`);
  });

  test("an adapter is used, given or the checkpoint's own", async () => {
    const own = path('with-adapter');
    writeTinyCheckpoint(own);
    scope(() => {
      const base = loadModel(own);
      const generator = new Generator(7);
      const adapter = attachLora(base, { r: 2, loraAlpha: 32 }, { generator });
      noGrad(() => {
        for (const value of adapter.parameters().values()) {
          value.copy_(randn(value.shape, { generator }));
        }
      });
      saveAdapter(join(own, 'adapter'), adapter);
      detachLora(adapter);
      adapter.dispose();
      base.dispose();
    });
    const [plain] = jsonLines((await pare(...args(files[0]!))).stdout);
    const given = await pare(...args('--adapter', join(own, 'adapter'), files[0]!));
    const [adapted] = jsonLines(given.stdout);
    expect(adapted!.tokenIds).not.toEqual(plain!.tokenIds);
    const found = await pare(...args(files[0]!).map((arg) => (arg === model ? own : arg)));
    expect(jsonLines(found.stdout)[0]!.tokenIds).toEqual(adapted!.tokenIds);
  });

  test('a folder that is no checkpoint, and an adapter that is none', async () => {
    const nothing = await pare(...args(files[0]!).map((arg) => (arg === model ? folder : arg)));
    expect(nothing).toMatchObject({ exitCode: 1, stdout: '' });
    expect(nothing.stderr).toMatch(oneLine);
    expect(nothing.stderr).toContain(folder);
    const adapter = await pare(...args('--adapter', path('none'), files[0]!));
    expect(adapter).toMatchObject({ exitCode: 1, stdout: '' });
    expect(adapter.stderr).toMatch(oneLine);
    expect(adapter.stderr).toContain(path('none'));
  });
});
