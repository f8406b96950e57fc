import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAudio } from '../../lib/audio';
import { Linear4bit } from '../../lib/nf4';
import {
  AudioTooLongError,
  AudioTooShortError,
  DeviceError,
  GenerationError,
  loadModel,
  loadNf4,
  ProcessorError,
  saveModel,
} from '../../lib/qwen2-audio';
import {
  SpeechTranslator,
  TargetLanguageWarning,
  TranslatorError,
  type TranslationOutcome,
} from '../../lib/qwen2-audio/translator';
import { cudaIsAvailable, memory } from '../../lib/torch';
import { settle } from './tiny-model';
import { tinySeconds, writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';

jest.setTimeout(120_000);

let folder: string;
let translator: SpeechTranslator;
let files: string[];
const request = { to: 'German', maxNewTokens: 5 };

const collect = async (
  pieces: AsyncGenerator<string, unknown>,
): Promise<{ pieces: string[]; result: unknown }> => {
  const all: string[] = [];
  for (;;) {
    const { done, value } = await pieces.next();
    if (done) return { pieces: all, result: value };
    all.push(value);
  }
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-translator-'));
  writeTinyCheckpoint(join(folder, 'model'));
  translator = await SpeechTranslator.load(join(folder, 'model'));
  files = [0.5, 1.7, 0.9, 1.2, 0.6].map((seconds, i) => {
    const file = join(folder, `${i}.wav`);
    writeTone(file, seconds, 180 + 110 * i);
    return file;
  });
});
afterAll(() => {
  translator.dispose();
  rmSync(folder, { recursive: true });
});

test('samples and their file give the same', async () => {
  const samples = await loadAudio(files[0]!);
  const [a, b] = await translator.translateBatch([samples, files[0]!], request);
  expect(a!.tokenIds).toEqual(b!.tokenIds);
  expect(a!.text).toBe(b!.text);
});

test('batches give what one after the other gives, and tell how far they are', async () => {
  const heard: [number, number][] = [];
  const onProgress = (done: number, total: number): void => void heard.push([done, total]);
  const batch = await translator.translateBatch(files, { ...request, batchSize: 2, onProgress });
  expect(heard).toEqual([0, 2, 4, 5].map((done) => [done, 5]));
  for (const [i, file] of files.entries()) {
    const { text, tokenIds, seconds } = await translator.translate(file, request);
    expect(batch[i]).toMatchObject({ text, tokenIds });
    expect(seconds).toBeGreaterThan(0);
  }
  // Not one answer for everything.
  expect(new Set(batch.map(({ tokenIds }) => tokenIds.join())).size).toBeGreaterThan(1);
});

test('outcomes keep their order where some fail', async () => {
  const long = new Float32Array(16000 * tinySeconds + 1);
  const outcomes: TranslationOutcome[] = [];
  const inputs = [long, files[0]!, '/nowhere.wav', new Float32Array(10), files[1]!];
  for await (const outcome of translator.translateEach(inputs, { ...request, batchSize: 2 })) {
    outcomes.push(outcome);
  }
  expect(outcomes.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4]);
  expect(outcomes.map(({ error }) => error === undefined)).toEqual([
    ...[false, true, false, false, true],
  ]);
  expect(outcomes[0]!.error).toBeInstanceOf(AudioTooLongError);
  expect(String(outcomes[2]!.error)).toContain('/nowhere.wav');
  expect(outcomes[3]!.error).toBeInstanceOf(AudioTooShortError);
});

test('a single failure is thrown, with the name of the file', async () => {
  const file = join(folder, 'long.wav');
  writeTone(file, tinySeconds + 0.5, 200);
  await expect(translator.translateBatch([file], request)).rejects.toThrow(AudioTooLongError);
  await expect(translator.translateBatch([file], request)).rejects.toThrow(file);
});

test('without a target language there is nothing to ask', async () => {
  await expect(translator.translate(files[0]!, {})).rejects.toThrow(ProcessorError);
  const instruction = 'Translate the English speech into German:';
  const asked = await translator.translate(files[0]!, { instruction, maxNewTokens: 5 });
  expect(asked.tokenIds).toEqual((await translator.translate(files[0]!, request)).tokenIds);
});

test('an aborted signal stops between batches and between tokens', async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const onProgress = (done: number): void => {
    if (done === 2) controller.abort();
  };
  const options = { ...request, batchSize: 2, signal, onProgress };
  await expect(translator.translateBatch(files, options)).rejects.toMatchObject({
    name: 'AbortError',
  });
  const soon = new AbortController();
  const running = translator.translate(files[0]!, { ...request, signal: soon.signal });
  soon.abort();
  await expect(running).rejects.toMatchObject({ name: 'AbortError' });
});

test('leaves no tensor behind, and frees the model', async () => {
  await translator.translate(files[0]!, request);
  const { handles } = memory();
  await translator.translateBatch(files, { ...request, batchSize: 3 });
  expect(memory().handles).toBe(handles);
  const second = await SpeechTranslator.load(join(folder, 'model'));
  expect(memory().handles).toBeGreaterThan(handles);
  second.dispose();
  expect(memory().handles).toBe(handles);
});

describe('beams and samples', () => {
  test('beam search gives a score, and the best of several first', async () => {
    const beams = { ...request, numBeams: 4 };
    const one = await translator.translate(files[1]!, beams);
    expect(one.score).toBeLessThan(0);
    expect(one.alternatives).toBeUndefined();
    const [several] = await translator.translateBatch([files[1]!, files[0]!], {
      ...beams,
      numReturnSequences: 3,
    });
    const { text, tokenIds, score, alternatives } = several!;
    expect(tokenIds).toEqual(one.tokenIds);
    expect(alternatives).toHaveLength(3);
    expect(alternatives![0]).toEqual({ text, tokenIds, score });
    const scores = alternatives!.map((alternative) => alternative.score!);
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
  });

  test('samples depend on the seed, not on the batch or the place in it', async () => {
    const sampled = { ...request, doSample: true, temperature: 2, seed: 3 };
    const batch = await translator.translateBatch(files, { ...sampled, batchSize: 3 });
    const texts = batch.map(({ tokenIds }) => tokenIds.join());
    for (const batchSize of [1, 2, 5]) {
      const again = await translator.translateBatch([...files].reverse(), {
        ...sampled,
        batchSize,
      });
      expect(again.map(({ tokenIds }) => tokenIds.join()).reverse()).toEqual(texts);
    }
    const other = await translator.translateBatch(files, { ...sampled, seed: 4 });
    expect(other.map(({ tokenIds }) => tokenIds.join())).not.toEqual(texts);
  });

  test('options that make no sense are refused', async () => {
    const refused = translator.translate(files[0]!, { ...request, temperature: 2 });
    await expect(refused).rejects.toThrow(GenerationError);
  });
});

describe('streaming', () => {
  test.each([{}, { doSample: true, seed: 2 }, { repetitionPenalty: 1.5 }])(
    'with %p the pieces are the text',
    async (mode) => {
      const asked = { ...request, maxNewTokens: 30, ...mode };
      const whole = await translator.translate(files[2]!, asked);
      const { pieces, result } = await collect(translator.stream(files[2]!, asked));
      expect(pieces.join('')).toBe(whole.text);
      expect(pieces.length).toBeGreaterThan(3);
      expect(pieces).not.toContain('');
      const { text, tokenIds } = whole;
      expect(result).toEqual({ text, tokenIds, seconds: expect.any(Number) });
    },
  );

  test('a piece comes before the text is done, and what is left early is freed', async () => {
    await collect(translator.stream(files[0]!, request));
    const { handles } = memory();
    for await (const piece of translator.stream(files[0]!, { ...request, maxNewTokens: 100 })) {
      expect(piece).not.toBe('');
      expect(memory().handles).toBeGreaterThan(handles);
      break;
    }
    expect(memory().handles).toBe(handles);
  });

  test('failures and abortion end it, and leave nothing', async () => {
    const { handles } = memory();
    const long = new Float32Array(16000 * tinySeconds + 1);
    await expect(collect(translator.stream(long, request))).rejects.toThrow(AudioTooLongError);
    const beams = collect(translator.stream(files[0]!, { ...request, numBeams: 2 }));
    await expect(beams).rejects.toThrow(GenerationError);
    const controller = new AbortController();
    const asked = { ...request, maxNewTokens: 100, signal: controller.signal };
    const stream = translator.stream(files[0]!, asked);
    await stream.next();
    controller.abort();
    await expect(collect(stream)).rejects.toMatchObject({ name: 'AbortError' });
    expect(memory().handles).toBe(handles);
  });
});

describe('abortion leaves nothing behind', () => {
  test.each([{}, { numBeams: 3 }, { doSample: true }])('with %p', async (mode) => {
    const { handles } = memory();
    for (const turns of [0, 1, 20]) {
      const controller = new AbortController();
      const asked = { ...request, maxNewTokens: 400, signal: controller.signal, ...mode };
      const running = translator.translateBatch(files, asked);
      const refused = expect(running).rejects.toMatchObject({ name: 'AbortError' });
      for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
      controller.abort();
      await refused;
      expect(memory().handles).toBe(handles);
    }
  });
});

describe('a disposed translator', () => {
  test('says so, also to what is running', async () => {
    await settle();
    const { handles } = memory();
    const own = await SpeechTranslator.load(join(folder, 'model'));
    const running = own.translate(files[0]!, { ...request, maxNewTokens: 200 });
    const beams = own.translate(files[0]!, { ...request, maxNewTokens: 200, numBeams: 2 });
    const stream = own.stream(files[0]!, { ...request, maxNewTokens: 200 });
    await stream.next();
    own.dispose();
    own.dispose();
    const said = 'this translator was disposed; load the checkpoint again';
    const ends = await Promise.allSettled([
      ...[running, beams, collect(stream), own.translate(files[0]!, request)],
      ...[own.translateBatch(files, request), collect(own.stream(files[0]!, request))],
      // What needs no model says so, too.
      ...[own.translateBatch([], request), own.translate(new Float32Array(8000), request)],
      ...[
        () => own.loadAdapter(folder, { name: 'second' }),
        () => own.setAdapter('default'),
        () => own.disableAdapter(),
        () => own.deleteAdapter('default'),
      ].map(async (use) => use()),
    ]);
    for (const end of ends) {
      const { reason } = end as { reason?: unknown };
      expect(reason).toBeInstanceOf(TranslatorError);
      expect(String(reason)).toContain(said);
    }
    expect(memory().handles).toBe(handles);
  });
});

describe('languages that the checkpoint was trained on', () => {
  let trained: string;
  beforeAll(() => {
    trained = join(folder, 'trained');
    using model = loadModel(join(folder, 'model'));
    const { processor } = translator;
    saveModel(trained, model, processor, { targetLanguages: ['de', 'Chinese'] });
  });
  const config = (dir: string): { pare?: unknown } =>
    JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as { pare?: unknown };

  test('are recorded, and kept when it is saved again', () => {
    expect(config(trained).pare).toEqual({ target_languages: ['de', 'Chinese'] });
    using model = loadModel(trained);
    expect(model.config.targetLanguages).toEqual(['de', 'zh']);
    const again = join(folder, 'again');
    saveModel(again, model.withLayers([0, 2]), undefined);
    expect(config(again).pare).toEqual({ target_languages: ['de', 'Chinese'] });
    expect(config(join(folder, 'model')).pare).toBeUndefined();
  });

  test('another one is warned of, once', async () => {
    const warnings: TargetLanguageWarning[] = [];
    const onWarning = (warning: TargetLanguageWarning): void => void warnings.push(warning);
    using own = await SpeechTranslator.load(trained, { onWarning });
    for (const to of ['German', 'zh', 'de']) await own.translate(files[0]!, { ...request, to });
    await own.translate(files[0]!, { ...request, instruction: 'Translate it into French:' });
    expect(warnings).toEqual([]);
    for (const to of ['French', 'fr']) await own.translate(files[0]!, { ...request, to });
    await collect(own.stream(files[0]!, { ...request, to: 'Dutch' }));
    expect(warnings.map(({ language }) => language)).toEqual(['French', 'Dutch']);
    expect(warnings[0]).toBeInstanceOf(TargetLanguageWarning);
    expect(warnings[0]!.message).toBe(
      'this model was trained to translate into German and Chinese, not into French; ' +
        'do not rely on what it says',
    );
    // Where nothing is recorded, nothing is said.
    const emit = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    await translator.translate(files[0]!, { ...request, to: 'French' });
    expect(emit).not.toHaveBeenCalled();
    using silent = await SpeechTranslator.load(trained);
    await silent.translate(files[0]!, { ...request, to: 'French' });
    expect(emit).toHaveBeenCalledWith(expect.any(TargetLanguageWarning));
    emit.mockRestore();
  });

  test.each(['"de"', '{"target_languages": "de"}', '{"target_languages": [1, "klingon"]}', 'null'])(
    'an entry that says nothing, %s, is as none',
    (entry) => {
      const dir = mkdtempSync(join(folder, 'entry-'));
      cpSync(trained, dir, { recursive: true });
      const raw = { ...config(trained), pare: JSON.parse(entry) as unknown };
      writeFileSync(join(dir, 'config.json'), JSON.stringify(raw));
      using model = loadModel(dir);
      expect(model.config.targetLanguages).toBeUndefined();
    },
  );
});

describe('loading', () => {
  const packed = (own: SpeechTranslator): string[] =>
    [...own.model.namedModules()].flatMap(([name, m]) => (m instanceof Linear4bit ? [name] : []));

  test('packs linear layers where it is asked for, and gives everything back', async () => {
    await settle();
    const before = memory();
    const own = await SpeechTranslator.load(join(folder, 'model'), { quantization: 'nf4' });
    const names = packed(own);
    expect(names).toContain('language_model.model.layers.0.self_attn.q_proj');
    expect(names).toContain('audio_tower.layers.0.fc1');
    expect(names).toContain('multi_modal_projector.linear');
    expect(names).not.toContain('language_model.lm_head');
    const again = await own.translate(files[0]!, request);
    // As it is saved and loaded.
    const dir = join(folder, 'packed');
    saveModel(dir, own.model, own.processor);
    own.dispose();
    expect(memory()).toEqual(before);
    using stored = await SpeechTranslator.load(dir);
    expect(packed(stored)).toEqual(names);
    expect((await stored.translate(files[0]!, request)).tokenIds).toEqual(again.tokenIds);
  });

  test('what the checkpoint has packed itself stays, and so does what it has not', async () => {
    const dir = join(folder, 'half-packed');
    const model = await loadNf4(join(folder, 'model'));
    const { selfAttn } = model.layers[0]!;
    const plain = loadModel(join(folder, 'model'));
    selfAttn.qProj = plain.layers[0]!.selfAttn.qProj;
    saveModel(dir, model, translator.processor);
    using own = await SpeechTranslator.load(dir, { quantization: 'nf4' });
    expect(packed(own)).not.toContain('language_model.model.layers.0.self_attn.q_proj');
    expect(packed(own).length).toBeGreaterThan(10);
    model.dispose();
    plain.dispose();
  });

  test('a dtype beside it is that of the rest, not of what is packed from', async () => {
    const options = { quantization: 'nf4', dtype: 'bfloat16' } as const;
    using own = await SpeechTranslator.load(join(folder, 'model'), options);
    expect(own.model.dtype).toBe('bfloat16');
    const { qProj } = own.model.layers[0]!.selfAttn;
    expect((qProj as unknown as Linear4bit).quantState.dtype).toBe('float32');
    expect((await own.translate(files[0]!, request)).tokenIds.length).toBeGreaterThan(0);
  });

  test('on a device that is not there', async () => {
    const { handles } = memory();
    const asked = (device: string): Promise<SpeechTranslator> =>
      SpeechTranslator.load(join(folder, 'model'), { device });
    await expect(asked('tpu')).rejects.toThrow(DeviceError);
    await expect(asked('tpu')).rejects.toThrow('give cpu, cuda or cuda:0');
    using cpu = await asked('cpu');
    expect(cpu.model.device).toBe('cpu');
    cpu.dispose();
    if (!cudaIsAvailable()) {
      await expect(asked('cuda')).rejects.toThrow(DeviceError);
      await expect(asked('cuda:0')).rejects.toThrow('has no CUDA; give cpu');
    }
    expect(memory().handles).toBe(handles);
  });
});
