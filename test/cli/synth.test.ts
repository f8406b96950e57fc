import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collate, loadModel, parseConfig, Processor } from '../../lib/qwen2-audio';
import { logicalParameters } from '../../lib/qwen2-audio/accounting';
import { publicShapes } from '../../lib/qwen2-audio/public-shapes';
import { qwen2AudioSpecialTokens, saveBpe, syntheticVocabulary, Tokenizer } from '../../lib/text';
import { noGrad, scope } from '../../lib/torch';
import { fillNormal } from '../../lib/torch/fill-normal';
import { jsonLines, oneLine, pare } from './invoke';

jest.setTimeout(120_000);

let folder: string;
const path = (name: string): string => join(folder, name);
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'pare-synth-'))));
afterAll(() => rmSync(folder, { recursive: true }));

const synth = (output: string, ...args: string[]): ReturnType<typeof pare> =>
  pare('synth', path(output), '--shape', 'qwen2-audio-tiny', ...args);
const bytes = (output: string): string =>
  readFileSync(join(path(output), 'model.safetensors')).toString('base64');

describe('pare synth', () => {
  test('writes a checkpoint that loads, computes and translates', async () => {
    const { exitCode, stdout, stderr } = await synth('model', '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const [told] = jsonLines(stdout);
    expect(told).toMatchObject({ output: path('model'), decoderLayers: 4, parameters: 940_544 });
    using model = loadModel(path('model'));
    expect(model.dtype).toBe('bfloat16');
    const processor = Processor.fromPretrained(path('model'), model.config);
    const audio = Float32Array.from({ length: 16000 }, (_, i) =>
      Math.sin(i * 0.1 + (i / 900) ** 2),
    );
    const example = processor.process({ audio, instruction: 'Translate:' });
    const logits = scope(() => {
      const all = noGrad(() => model.forward(collate(model, [example], 'left')));
      return all
        .select(1, all.size(1) - 1)
        .to('float32')
        .toArray() as number[];
    });
    const mean = logits.reduce((sum, x) => sum + x, 0) / logits.length;
    const deviation = Math.sqrt(logits.reduce((s, x) => s + (x - mean) ** 2, 0) / logits.length);
    // A state of size 1 times weights of deviation 1 / sqrt(width).
    expect(Math.abs(mean)).toBeLessThan(0.2);
    expect(deviation).toBeGreaterThan(0.7);
    expect(deviation).toBeLessThan(1.4);
    expect(processor.tokenizer.decode([...logits.keys()], { skipSpecialTokens: false })).toMatch(
      /<\|extra_20\|>$/,
    );
  });

  test('the same arguments give the same bytes, another seed others', async () => {
    await synth('again');
    await synth('other', '--seed', '1');
    expect(bytes('again')).toBe(bytes('model'));
    expect(bytes('other')).not.toBe(bytes('model'));
    expect(readdirSync(path('again'))).toEqual(readdirSync(path('model')));
  });

  test('numbers and dtype can be changed', async () => {
    const set = ['--set', 'text_config.num_hidden_layers=2', '--set', 'text_config.hidden_size=64'];
    const { stdout } = await synth('changed', '--dtype', 'float32', ...set, '--json');
    expect(jsonLines(stdout)[0]).toMatchObject({ decoderLayers: 2 });
    using model = loadModel(path('changed'));
    expect([model.dtype, model.config.text.hiddenSize]).toEqual(['float32', 64]);
  });

  test('says in a line what it cannot do, and leaves nothing', async () => {
    const refuse = async (output: string, code: number, ...args: string[]): Promise<string> => {
      const result = await pare('synth', output, ...args);
      expect(result).toMatchObject({ exitCode: code, stdout: '' });
      expect(result.stderr).toMatch(oneLine);
      return result.stderr;
    };
    const tiny = ['--shape', 'qwen2-audio-tiny'];
    const [taken, fresh] = [path('model'), path('refused')];
    expect(await refuse(taken, 1, ...tiny)).toContain('exists already');
    expect(await refuse(fresh, 1, '--shape', 'large')).toContain('qwen2-audio-7b');
    expect(await refuse(fresh, 1, ...tiny, '--set', 'text_config.layers=2')).toContain('no number');
    const small = ['--set', 'text_config.vocab_size=900'];
    expect(await refuse(fresh, 1, ...tiny, ...small)).toContain('vocabulary of 900');
    expect(await refuse(fresh, 2, ...tiny, '--set', 'x=y')).toContain('a key and a number');
    expect(await refuse('/proc/pare', 1, ...tiny)).toContain('cannot write /proc/pare');
    expect(readdirSync(folder).filter((name) => /refused|tmp/.test(name))).toEqual([]);
  });
});

test('the large shape has the parameters of the public checkpoint', () => {
  const config = parseConfig(publicShapes['qwen2-audio-7b']!);
  const { total, decoderLayer } = logicalParameters(config);
  expect([total, decoderLayer]).toEqual([8_397_094_912, 202_395_648]);
});

test('its vocabulary has the special tokens at their ids, and a token at every id', () => {
  const special = [...qwen2AudioSpecialTokens, '<|extra_0|>'];
  const vocabulary = syntheticVocabulary(['user\nTranslate the speech'], 151_643, special);
  expect(new Set(vocabulary.tokens).size).toBe(151_643);
  const dir = path('vocabulary');
  saveBpe(dir, vocabulary);
  const tokenizer = Tokenizer.fromPretrained(dir);
  expect(special.map((token) => tokenizer.tokenToId(token))).toEqual(
    special.map((_, i) => 151_643 + i),
  );
  const text = '<|im_start|>user\nTranslate the speech into Welsh, please: 星期一!';
  const ids = tokenizer.encode(text);
  expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(text);
  expect(ids.slice(0, 4)).toEqual(
    ['<|im_start|>', 'user', 'Ċ', 'Translate'].map((token) => tokenizer.tokenToId(token)),
  );
  expect(ids.length).toBeLessThan(30);
});

test('random values do not depend on how they are divided', () => {
  const count = 300_000;
  const options = { seed: 5, first: 1000, deviation: 0.5 };
  const whole = new Float32Array(count);
  fillNormal(new Uint8Array(whole.buffer), 'float32', options);
  const part = new Float32Array(1234);
  fillNormal(new Uint8Array(part.buffer), 'float32', { ...options, first: 78_901 });
  expect(part).toEqual(whole.slice(77_901, 77_901 + 1234));
  const moment = (power: number): number => whole.reduce((sum, x) => sum + x ** power, 0) / count;
  expect(Math.abs(moment(1))).toBeLessThan(0.005);
  expect(Math.sqrt(moment(2))).toBeCloseTo(0.5, 2);
  // A normal distribution has 3; the sum of four uniform ones 3 - 6 / 5 / 4.
  expect(moment(4) / moment(2) ** 2).toBeCloseTo(2.7, 1);
});
