import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAudio } from '../../lib/audio';
import { AudioTooLongError, AudioTooShortError, ProcessorError } from '../../lib/qwen2-audio';
import { SpeechTranslator, type TranslationOutcome } from '../../lib/qwen2-audio/translator';
import { memory } from '../../lib/torch';
import { tinySeconds, writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';

jest.setTimeout(120_000);

let folder: string;
let translator: SpeechTranslator;
let files: string[];
const request = { to: 'German', maxNewTokens: 5 };

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-translator-'));
  writeTinyCheckpoint(join(folder, 'model'));
  translator = SpeechTranslator.load(join(folder, 'model'));
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
  await expect(translator.translate(file, request)).rejects.toThrow(AudioTooLongError);
  await expect(translator.translate(file, request)).rejects.toThrow(file);
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
  const second = SpeechTranslator.load(join(folder, 'model'));
  expect(memory().handles).toBeGreaterThan(handles);
  second.dispose();
  expect(memory().handles).toBe(handles);
});
