/** Sounds as they come: a translation, or one line that names the file. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AudioError, encodeWav } from '../../lib/audio';
import { AudioTooShortError } from '../../lib/qwen2-audio';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { writeTinyCheckpoint } from '../tiny-checkpoint';

let folder: string;
let translator: SpeechTranslator;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-sounds-'));
  writeTinyCheckpoint(join(folder, 'model'), { decoderLayers: 2 });
  translator = await SpeechTranslator.load(join(folder, 'model'));
});
afterAll(() => {
  translator.dispose();
  rmSync(folder, { recursive: true });
});

const request = { to: 'German', maxNewTokens: 3 };
const tone = (seconds: number, rate: number): Float32Array =>
  Float32Array.from({ length: seconds * rate }, (_, i) => 0.4 * Math.sin((1500 * i) / rate));

function save(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

test('8 kHz, and 48 kHz of six channels, are heard as 16 kHz', async () => {
  const eight = save('eight.wav', encodeWav(tone(1, 8000), 8000));
  expect((await translator.translate(eight, request)).tokenIds).toHaveLength(3);
  const samples = Array.from({ length: 6 }, () => tone(1, 48000));
  const six = await translator.translate({ samples, sampleRate: 48000 }, request);
  const sixteen = await translator.translate(tone(1, 16000), request);
  expect(six.tokenIds).toHaveLength(3);
  expect(six.segments?.map(({ end }) => end)).toEqual(sixteen.segments?.map(({ end }) => end));
});

test('where nobody speaks there is no text', async () => {
  const silent = save('silent.wav', encodeWav(new Float32Array(16000), 16000));
  expect(await translator.translate(silent, request)).toMatchObject({ text: '', silent: true });
});

test('one sample is too little for a token, or silence', async () => {
  const one = save('one.wav', encodeWav(Float32Array.of(0.5), 16000));
  const batch = translator.translateBatch([one], request);
  await expect(batch).rejects.toThrow(AudioTooShortError);
  await expect(batch).rejects.toThrow(`${one}: the audio has 0.001 s, too little for`);
});

test('what is no number is refused by name', async () => {
  const samples = tone(1, 16000);
  samples[700] = NaN;
  const refused = translator.translate(samples, request);
  await expect(refused).rejects.toThrow(AudioError);
  await expect(refused).rejects.toThrow(/not (a )?finite/);
  const bytes = encodeWav(tone(1, 16000), 16000).slice(0, 30);
  const cut = save('cut.wav', bytes);
  await expect(translator.translate(cut, request)).rejects.toThrow(cut);
});
