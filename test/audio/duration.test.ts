/** Lengths from headers against what decodes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { AudioError, audioSeconds, decodeAudio, encodeWav } from '../../lib/audio';

const fixtures = join(__dirname, 'fixtures');
const files = readdirSync(fixtures).filter((name) => !name.endsWith('.md'));

test.each(files)('%s', async (name) => {
  const path = join(fixtures, name);
  const { samples, sampleRate } = await decodeAudio(path);
  const decoded = samples[0]!.length / sampleRate;
  const seconds = await audioSeconds(path);
  // An mp3's frames begin before and end behind the sound.
  if (name.endsWith('.mp3')) expect(Math.abs(seconds - decoded)).toBeLessThan(0.1);
  else expect(seconds).toBeCloseTo(decoded, 6);
  expect(await audioSeconds(readFileSync(path))).toBe(seconds);
});

test('any wave file, also of an open length', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 40_000 }),
      fc.constantFrom(8000, 16000, 44100),
      fc.boolean(),
      async (samples, rate, isOpen) => {
        const bytes = encodeWav(new Float32Array(samples), rate);
        if (isOpen) bytes.fill(0xff, 40, 44);
        expect(await audioSeconds(bytes)).toBe(samples / rate);
      },
    ),
    { seed: 5, numRuns: 50 },
  );
});

test('what is no audio says so', async () => {
  await expect(audioSeconds(new Uint8Array(Buffer.from('no sound')))).rejects.toThrow(AudioError);
  await expect(audioSeconds(new Uint8Array(0))).rejects.toThrow(AudioError);
});
