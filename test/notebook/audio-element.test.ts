import { join } from 'node:path';
import { loadAudio } from '../../lib/audio';
import { audioElement } from '../../lib/notebook';

const clip = join(__dirname, '../fixtures/clip.wav');

function soundOf(element: string): Uint8Array {
  const [, base64] = /<audio controls src="data:audio\/wav;base64,([^"]+)"><\/audio>/.exec(
    element,
  )!;
  return Buffer.from(base64!, 'base64');
}
const captionOf = (element: string): string => /<figcaption>(.*)<\/figcaption>/.exec(element)![1]!;

test('holds what the model hears', async () => {
  const element = await audioElement(clip);
  const [heard, whole] = [await loadAudio(soundOf(element)), await loadAudio(clip)];
  expect(heard).toHaveLength(whole.length);
  // 16 bits, rounded once more.
  expect(Math.max(...heard.map((sample, i) => Math.abs(sample - whole[i]!)))).toBeLessThan(1e-4);
  expect(captionOf(element)).toBe('clip.wav');
});

test('is cut where it is long, and says so; the caption is escaped', async () => {
  const samples = new Float32Array(48000 * 3).map((_, i) => Math.sin(i / 20) / 2);
  const long = { samples, sampleRate: 48000 };
  const element = await audioElement(long, { maxSeconds: 0.5, caption: '<b>' });
  expect(await loadAudio(soundOf(element))).toHaveLength(8000);
  expect(captionOf(element)).toBe('&lt;b&gt;, the first 0.5 s');
  expect(captionOf(await audioElement(long, { maxSeconds: 3 }))).toBe('');
});

test('names a file that is not there', async () => {
  await expect(audioElement('/nowhere.wav')).rejects.toThrow(/nowhere\.wav/);
});
