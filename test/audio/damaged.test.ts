/**
 * Damaged files, thousands of them: each is decoded or refused with one line, and no codec ends the
 * program or keeps it waiting.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AudioError, decodeAudio, encodeWav } from '../../lib/audio';
import { seededRandom, type Random } from '../../lib/data/random';

jest.setTimeout(600_000);

const fixture = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(join(__dirname, 'fixtures', name)));

/** One to four bytes changed, most of them in the header; one in five cut short as well. */
function damage(bytes: Uint8Array, random: Random): Uint8Array {
  const damaged = bytes.slice();
  for (let count = 1 + random.index(4); count > 0; count--) {
    const within = random.next() < 0.8 ? Math.min(600, bytes.length) : bytes.length;
    damaged[random.index(within)] = random.index(256);
  }
  return random.next() < 0.2 ? damaged.slice(0, random.index(bytes.length)) : damaged;
}

/** Decodes; says whether it could. */
async function survives(bytes: Uint8Array): Promise<boolean> {
  try {
    const { samples, sampleRate } = await decodeAudio(bytes);
    expect(samples[0]!.length).toBeGreaterThan(0);
    expect(Number.isInteger(sampleRate)).toBe(true);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(AudioError);
    expect((error as Error).message).toMatch(/^the audio [^\n]+; [^\n]+$/);
    // What a codec says when it breaks is nothing for people.
    expect((error as Error).message).not.toMatch(/undefined|null|function|\bNaN\b/);
    return false;
  }
}

async function countSurvivors(name: string, bytes: Uint8Array, count: number): Promise<number> {
  const random = seededRandom(name);
  let survivors = 0;
  for (let i = 0; i < count; i++) if (await survives(damage(bytes, random))) survivors++;
  return survivors;
}

test('4,000 wave files', async () => {
  const tone = Float32Array.from({ length: 400 }, (_, i) => Math.sin(i / 5) / 2);
  const plain = encodeWav(tone, 16000);
  // Nine in ten changes hit samples; so do none here.
  const header = encodeWav(tone.subarray(0, 4), 16000);
  const survivors =
    (await countSurvivors('plain', plain, 1000)) + (await countSurvivors('header', header, 3000));
  expect(survivors).toBeGreaterThan(500);
  expect(survivors).toBeLessThan(3500);
});

test.each([
  'tones.flac',
  'tones.mp3',
  'tones.ogg',
  'tones.opus',
  'tones.m4a',
  'tones-alac.m4a',
  'tones-mulaw.wav',
])('200 of %s', async (file) => {
  const survivors = await countSurvivors(file, fixture(file), 200);
  // Some pass and some do not, or nothing was tested.
  expect(survivors).toBeGreaterThan(5);
  expect(survivors).toBeLessThan(200);
});

test('an mp4 that lies about the number of its samples', async () => {
  const bytes = fixture('tones-fragmented.m4a');
  const at = Buffer.from(bytes).indexOf('trun');
  // Behind the name: version and flags, then the count.
  new DataView(bytes.buffer).setUint32(at + 8, 0x7fffffff);
  expect(await survives(bytes)).toBe(false);
  // Whatever became of the decoder, the next file has one.
  expect(await survives(fixture('tones.m4a'))).toBe(true);
});

test.each(['tones.flac', 'tones.mp3', 'tones.ogg', 'tones.opus', 'tones-faststart.m4a'])(
  '%s, cut short anywhere, is never taken for whole',
  async (file) => {
    const bytes = fixture(file);
    // An mp3's last frames are padding, perhaps; they may be missing.
    const parts = file === 'tones.mp3' ? 11 : 12;
    for (let part = 1; part < parts; part++) {
      const length = Math.round((bytes.length * part) / 12);
      expect([file, length, await survives(bytes.slice(0, length))]).toEqual([file, length, false]);
    }
  },
);
