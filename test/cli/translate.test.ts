import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAudio, writeWav } from '../../lib/audio';
import { concatenate } from '../../lib/audio/resample';
import { attachLora, detachLora, saveAdapter } from '../../lib/lora';
import { loadModel, saveModel } from '../../lib/qwen2-audio';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { Context } from '../../lib/cli/context';
import { runProgram } from '../../lib/cli/program';
import { cudaIsAvailable, Generator, noGrad, randn, scope } from '../../lib/torch';
import { writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';
import { jsonLines, oneLine, pare, pareWith } from './invoke';

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
    const translator = await SpeechTranslator.load(model);
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
    expect(load).toHaveBeenCalledWith(model, expect.objectContaining({ dtype: 'bfloat16' }));
    load.mockRestore();
    expect((await pare(...args('--dtype', 'int8', files[0]!))).exitCode).toBe(2);
  });

  test('bad files are named, the others go on', async () => {
    const empty = path('empty.wav');
    writeFileSync(empty, '');
    const text = path('text.mp3');
    writeFileSync(text, 'this is no sound at all');
    const cut = path('cut.wav');
    writeFileSync(cut, readFileSync(files[1]!).subarray(0, 20_000));
    const missing = path('missing.flac');
    const all = [empty, files[0]!, text, cut, files[2]!, missing];
    const { exitCode, stdout, stderr } = await pare(...args('--batch-size', '2', ...all));
    expect(exitCode).toBe(1);
    expect(jsonLines(stdout).map(({ file }) => file)).toEqual([files[0], files[2]]);
    const lines = stderr.trimEnd().split('\n');
    expect(lines).toHaveLength(4);
    for (const [i, file] of [empty, text, cut, missing].entries()) {
      expect(lines[i]).toMatch(/^pare: /);
      expect(lines[i]).toContain(file);
    }
    expect(lines[2]).toContain('is cut short');
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

  test('beams, samples and penalties are those of the library', async () => {
    const translator = await SpeechTranslator.load(model);
    const request = { to: 'German', maxNewTokens: 6 };
    const asked: [string[], object][] = [
      [['--beams', '4'], { numBeams: 4 }],
      [['--beams', '3', '--length-penalty', '-1.5'], { numBeams: 3, lengthPenalty: -1.5 }],
      [['--repetition-penalty', '2.5'], { repetitionPenalty: 2.5 }],
      [['--sample'], { doSample: true }],
      [
        ['--sample', '--temperature', '3', '--top-k', '0', '--top-p', '0.95', '--seed', '7'],
        { doSample: true, temperature: 3, topK: 0, topP: 0.95, seed: 7 },
      ],
    ];
    const seen = new Set<string>();
    for (const [flags, options] of asked) {
      const { tokenIds } = await translator.translate(files[2]!, { ...request, ...options });
      const { exitCode, stdout } = await pare(...args(...flags, files[2]!));
      expect(exitCode).toBe(0);
      expect(jsonLines(stdout)[0]!.tokenIds).toEqual(tokenIds);
      seen.add(tokenIds.join());
    }
    expect(seen.size).toBeGreaterThan(3);
    translator.dispose();
  });

  test.each([
    [['--beams', '0'], 'at least 1'],
    [['--beams', '2', '--sample'], 'cannot be used with'],
    [['--length-penalty', '2'], 'add --beams 4'],
    [['--length-penalty', 'x', '--beams', '2'], 'must be a number'],
    [['--temperature', '2'], 'add --sample'],
    [['--top-p', '0.5'], 'add --sample'],
    [['--top-k', '5'], 'add --sample'],
    [['--seed', '5'], 'add --sample'],
    [['--sample', '--temperature', '0'], 'above 0'],
    [['--sample', '--top-p', '1.1'], 'at most 1'],
    [['--sample', '--top-k', '-1'], 'at least 0'],
    [['--sample', '--seed', '4294967296'], '4294967295'],
    [['--repetition-penalty', '0'], 'above 0'],
    [['--stream', '--json'], 'cannot be used with'],
    [['--stream', '--beams', '2'], 'cannot be used with'],
    [['--quantize', 'int8'], 'nf4'],
    [['--device', 'tpu'], 'cpu, cuda or cuda:0'],
  ])('%p is no command line', async (flags, message) => {
    const line = ['translate', '--model', model, '--to', 'German', ...flags, files[0]!];
    const { exitCode, stdout, stderr } = await pare(...line);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(oneLine);
    expect(stderr).toContain(message);
  });

  test('--stream writes piece by piece what comes without', async () => {
    const missing = path('missing.wav');
    const line = ['translate', '--model', model, '--to', 'German', '--max-new-tokens', '20'];
    const all = [files[0]!, missing, files[1]!];
    const whole = await pare(...line, ...all);
    const streamed = await pare(...line, '--stream', ...all);
    expect(streamed.stdout.trimEnd()).toBe(whole.stdout.trimEnd());
    expect(streamed.stdout.split('\n')).toHaveLength(4);
    expect(streamed.exitCode).toBe(1);
    expect(streamed.stderr).toContain(missing);
    const writes: string[] = [];
    const quiet = { write: () => undefined };
    const context = new Context({ write: (text) => writes.push(text) }, quiet);
    expect(await runProgram([...line, '--stream', files[0]!], context)).toBe(0);
    expect(writes.length).toBeGreaterThan(3);
  });

  test('--quantize packs, a device that is not there fails', async () => {
    const load = jest.spyOn(SpeechTranslator, 'load');
    expect((await pare(...args('--quantize', 'nf4', files[0]!))).exitCode).toBe(0);
    expect(load).toHaveBeenCalledWith(model, expect.objectContaining({ quantization: 'nf4' }));
    load.mockRestore();
    if (cudaIsAvailable()) return;
    const { exitCode, stderr } = await pare(...args('--device', 'cuda', files[0]!));
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(oneLine);
    expect(stderr).toContain('no CUDA');
  });

  test('a model is a folder or a name on the hub', async () => {
    const env = { HF_HUB_OFFLINE: '1', HF_HOME: path('home') };
    const line = ['translate', '--to', 'German', files[0]!, '--model'];
    for (const [name, message] of [
      ['nowhere', 'neither a folder nor a name on the hub'],
      [
        'some/model',
        'there is no folder some/model here, and some/model (main) is not in the cache',
      ],
    ] as const) {
      const { exitCode, stdout, stderr } = await pareWith(env, ...line, name);
      expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
      expect(stderr).toMatch(oneLine);
      expect(stderr).toContain(message);
    }
  });

  test('a language that the model was not trained on is told of in one line', async () => {
    const trained = path('trained');
    const translator = await SpeechTranslator.load(model);
    const { processor } = translator;
    saveModel(trained, translator.model, processor, { targetLanguages: ['de', 'zh'] });
    translator.dispose();
    const line = (to: string): string[] =>
      args('--to', to, ...files).map((arg) => (arg === model ? trained : arg));
    const french = await pare(...line('French'));
    expect(french.exitCode).toBe(0);
    expect(jsonLines(french.stdout)).toHaveLength(3);
    expect(french.stderr).toMatch(oneLine);
    expect(french.stderr).toContain(
      'trained to translate into German and Chinese, not into French',
    );
    expect((await pare(...line('zh'))).stderr).toBe('');
  });
});

describe('pare translate of longer recordings', () => {
  let long: string;
  let quiet: string;
  beforeAll(async () => {
    long = path('long.wav');
    quiet = path('quiet.wav');
    const clips = await Promise.all(files.map((file) => loadAudio(file)));
    const pause = new Float32Array(0.9 * 16000);
    writeWav(long, concatenate(clips.flatMap((clip) => [pause, clip])), 16000);
    writeWav(quiet, new Float32Array(16000), 16000);
  });

  const options = (...more: string[]): string[] => [
    ...args().filter((arg) => arg !== '--json'),
    ...more,
  ];

  test('json has the segments, text joins them', async () => {
    const [result] = jsonLines((await pare(...args(long))).stdout);
    const segments = result!.segments as Record<string, unknown>[];
    expect(segments.filter(({ silent }) => silent === false)).toHaveLength(3);
    expect(Object.keys(segments[0]!)).toEqual(['start', 'end', 'text', 'tokenIds', 'silent']);
    expect(result!.duration).toBeCloseTo(6.1, 1);
    const same = await pare(...options('--format', 'json', long));
    expect(jsonLines(same.stdout).map(withoutTime)).toEqual([withoutTime(result!)]);
    const { stdout } = await pare(...options(long));
    expect(stdout).toBe(`${String(result!.text).replace(/[\p{Cc}\s]+/gu, ' ')}\n`);
    const short = jsonLines((await pare(...args('--segments', files[0]!))).stdout);
    expect(short[0]).toMatchObject({ duration: 0.7, segments: [{ start: 0, end: 0.7 }] });
  });

  test('--segments prints times between tabs, the file in front where there are several', async () => {
    const one = await pare(...options('--segments', long));
    const rows = one.stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t'));
    expect(
      rows.every(([start, end, text]) => Number(start) < Number(end) && text !== undefined),
    ).toBe(true);
    const two = await pare(...options('--segments', long, files[0]!));
    const names = two.stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t')[0]);
    expect(new Set(names)).toEqual(new Set([long, files[0]]));
  });

  test('subtitles go to standard output, a file, or a folder of files', async () => {
    const { stdout } = await pare(...options('--format', 'srt', long));
    expect(stdout).toMatch(/^1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n/);
    const file = path('own.srt');
    const toFile = await pare(...options('--format', 'srt', '--output', file, long));
    expect(toFile).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    expect(readFileSync(file, 'utf8')).toBe(stdout);
    const dir = path('subtitles');
    const missing = path('missing.mp3');
    const all = await pare(
      ...options('--format', 'vtt', '--output', dir, long, missing, files[0]!),
    );
    expect(all).toMatchObject({ exitCode: 1, stdout: '' });
    expect(all.stderr).toMatch(oneLine);
    expect(readdirSync(dir).sort()).toEqual(['long.vtt', 'tone-0.vtt']);
    expect(readFileSync(join(dir, 'long.vtt'), 'utf8')).toMatch(/^WEBVTT\n\n00:00:0/);
    const text = await pare(...options('--output', `${path('texts')}/`, files[0]!));
    expect(text.exitCode).toBe(0);
    expect(readdirSync(path('texts'))).toEqual(['tone-0.txt']);
  });

  test('silence has no text, and a note', async () => {
    const { exitCode, stdout, stderr } = await pare(...options(quiet, files[0]!));
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^\n[^\n]+\n$/);
    expect(stderr).toMatch(oneLine);
    expect(stderr).toContain(`${quiet}: nobody speaks`);
    const [result] = jsonLines((await pare(...args(quiet))).stdout);
    expect(result).toMatchObject({ text: '', tokenIds: [], silent: true });
    expect((await pare(...options('--format', 'srt', quiet))).stdout).toBe('');
  });

  test.each<[string, () => string[], string]>([
    [
      'subtitles of several without a folder',
      () => ['--format', 'srt', long, quiet],
      'add --output',
    ],
    [
      'two of one name',
      () => ['--output', path('out'), long, path('elsewhere/long.mp3')],
      'would both become',
    ],
    ['the recording itself', () => ['--output', long, long], 'would be overwritten'],
    ['two formats', () => ['--format', 'srt', '--json', long], 'cannot be used with'],
    ['a format that is none', () => ['--format', 'doc', long], 'Allowed choices are text, json'],
  ])('refuses %s before anything is loaded', async (_, more, message) => {
    const { exitCode, stdout, stderr } = await pare(...options(...more()));
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(oneLine);
    expect(stderr).toContain(message);
    expect(existsSync(path('out'))).toBe(false);
  });

  test('an output that cannot be written is told of before anything is translated', async () => {
    const output = path('long.mp3/talk.srt');
    writeFileSync(path('long.mp3'), '');
    const { exitCode, stderr } = await pare(
      ...['translate', '--model', 'no-model', '--to', 'German', '--output', output, quiet],
    );
    expect(exitCode).toBe(1);
    expect(stderr).toBe(
      `pare: cannot write ${output}: a part of the path is a file, not a folder; check the path\n`,
    );
  });
});
