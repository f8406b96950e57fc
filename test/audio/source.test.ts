import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import {
  AudioError,
  decodeAudio,
  encodeWav,
  loadAudio,
  streamAudio,
  type AudioSource,
  type PcmEncoding,
} from '../../lib/audio';
import { pieceBytes } from '../../lib/audio/source';

const fixture = (name: string): string => join(__dirname, 'fixtures', name);
const files = [
  'tones.flac',
  'tones.mp3',
  'tones.ogg',
  'tones.opus',
  'tones.m4a',
  'tones-mulaw.wav',
];

function tone(length: number, hertz = 300, rate = 16000): Float32Array {
  return Float32Array.from({ length }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hertz * i) / rate));
}

/** What a program writes whose output is cut anywhere. */
function* slices<Chunk extends Uint8Array | Float32Array>(
  whole: Chunk,
  lengths: readonly number[],
): Generator<Chunk> {
  for (let at = 0, i = 0; at < whole.length; i++) {
    const length = lengths[i % lengths.length]!;
    yield whole.subarray(at, at + length) as Chunk;
    at += length;
  }
}

async function* stream<Chunk>(chunks: Iterable<Chunk>): AsyncGenerator<Chunk> {
  for (const chunk of chunks) yield await Promise.resolve(chunk);
}

describe('sources of audio', () => {
  test.each(files)('%s: a path and its bytes are the same', async (file) => {
    const bytes = readFileSync(fixture(file));
    const before = Uint8Array.from(bytes);
    const fromPath = await decodeAudio(fixture(file));
    expect(await decodeAudio(bytes)).toEqual(fromPath);
    // They are left as they were.
    expect(Buffer.compare(bytes, before)).toBe(0);
    // A view into something larger.
    const larger = new Uint8Array(bytes.length + 100).fill(255);
    larger.set(bytes, 50);
    expect(await decodeAudio(larger.subarray(50, 50 + bytes.length))).toEqual(fromPath);
  });

  test('samples alone are mono at 16 kHz; others say their rate', async () => {
    const samples = tone(1600);
    expect(await loadAudio(samples)).toEqual(samples);
    expect(await loadAudio({ samples, sampleRate: 16000 })).toEqual(samples);
    const eight = await loadAudio({ samples: tone(800, 300, 8000), sampleRate: 8000 });
    expect(eight.length).toBe(1600);
    for (let i = 200; i < 1400; i++) expect(eight[i]).toBeCloseTo(samples[i]!, 3);
    const channels = Array.from({ length: 6 }, (_, i) => tone(4800, 300, 48000).map((v) => v * i));
    const six = await loadAudio({ samples: channels, sampleRate: 48000 });
    expect(six.length).toBe(1600);
    for (let i = 200; i < 1400; i++) expect(six[i]).toBeCloseTo(2.5 * samples[i]!, 3);
  });

  const encodings: [PcmEncoding, number, number][] = [
    ['u8', 1, 1 / 128],
    ['s16le', 2, 1e-4],
    ['s24le', 3, 1e-6],
    ['s32le', 4, 1e-6],
    ['f32le', 4, 0],
    ['f64le', 8, 0],
  ];
  test.each(encodings)('a stream of %s, cut anywhere', async (encoding, size, error) => {
    const [left, right] = [tone(500), tone(500, 700)];
    const bytes = Buffer.alloc(2 * 500 * size);
    const put = (value: number, at: number): unknown => {
      if (encoding === 'u8') return bytes.writeUInt8(Math.round(value * 127 + 128), at);
      if (encoding === 'f32le') return bytes.writeFloatLE(value, at);
      if (encoding === 'f64le') return bytes.writeDoubleLE(value, at);
      return bytes.writeIntLE(Math.round(value * (2 ** (8 * size - 1) - 1)), at, size);
    };
    for (let i = 0; i < 500; i++) {
      put(left[i]!, 2 * i * size);
      put(right[i]!, (2 * i + 1) * size);
    }
    const readable = Readable.from(slices(bytes, [1, 7, 64, 3]));
    const source = { stream: readable, sampleRate: 16000, channels: 2, encoding };
    const { samples } = await decodeAudio(source);
    for (let i = 0; i < 500; i++) {
      expect(Math.abs(samples[0]![i]! - left[i]!)).toBeLessThanOrEqual(error);
      expect(Math.abs(samples[1]![i]! - right[i]!)).toBeLessThanOrEqual(error);
    }
  });

  test('a stream of floats is the samples, however it is cut', async () => {
    const samples = tone(5000, 440, 44100);
    const whole = await loadAudio({ samples, sampleRate: 44100 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 6 }),
        async (lengths) => {
          const chunks = stream(slices(samples, lengths));
          expect(await loadAudio({ stream: chunks, sampleRate: 44100 })).toEqual(whole);
        },
      ),
      { seed: 5, numRuns: 30 },
    );
  });

  test.each(files)('%s: in pieces as in one', async (file) => {
    const pieces: Float32Array[] = [];
    for await (const piece of streamAudio(fixture(file))) pieces.push(piece);
    const joined = pieces.flatMap((piece) => [...piece]);
    expect(joined).toEqual([...(await loadAudio(fixture(file)))]);
  });
});

describe('sources that cannot be used', () => {
  const nan = tone(100);
  nan[50] = NaN;
  const infinite = tone(100);
  infinite[99] = -Infinity;
  const samples = tone(100);
  const cases: [string, AudioSource, string][] = [
    ['no samples', new Float32Array(0), 'has no samples'],
    ['no channels', { samples: [], sampleRate: 16000 }, 'has no samples'],
    ['an empty buffer', new Uint8Array(0), 'is empty (0 bytes)'],
    ['samples that are no numbers', nan, 'not finite'],
    ['infinite samples', { samples: [infinite], sampleRate: 8000 }, 'not finite'],
    ['channels of two lengths', { samples: [tone(9), tone(8)], sampleRate: 8000 }, '9, 8 samples'],
    ...[0, -1, 16000.5, NaN, 5, 1e9].map((sampleRate): [string, AudioSource, string] => [
      `a rate of ${sampleRate}`,
      { samples, sampleRate },
      `sampling rate of ${sampleRate} Hz`,
    ]),
    ['an empty stream', { stream: stream([]), sampleRate: 16000 }, 'has no samples'],
    ['half a sample', { stream: stream([Uint8Array.of(1)]), sampleRate: 16000 }, 'has no samples'],
    [
      'a stream of no channels',
      { stream: stream([samples]), sampleRate: 8000, channels: 0 },
      '0 channels',
    ],
    [
      'a stream of text',
      { stream: stream(['hello']) as never, sampleRate: 8000 },
      'neither bytes nor Float32Arrays',
    ],
    [
      'an encoding that nobody knows',
      { stream: stream([samples]), sampleRate: 8000, encoding: 'mp3' as never },
      'encoded as mp3',
    ],
  ];

  test.each(cases)('%s', async (_, source, message) => {
    const error = await loadAudio(source).catch((reason: Error) => reason);
    expect(error).toBeInstanceOf(AudioError);
    expect((error as Error).message).toContain(message);
    expect((error as Error).message).not.toContain('\n');
  });

  test('an error of the stream itself is passed on', async () => {
    const broken = Readable.from(
      (function* () {
        yield Buffer.alloc(100);
        throw new Error('the line is cut');
      })(),
    );
    await expect(loadAudio({ stream: broken, sampleRate: 8000 })).rejects.toThrow('line is cut');
  });

  test('one sample is decoded; who takes it says that it is too short', async () => {
    expect((await loadAudio(Float32Array.of(0.5))).length).toBe(1);
  });
});

test('a file that is larger than a piece', async () => {
  const samples = tone(100_000).map((value) => Math.round(value * 32768 + 2 ** 15) / 32768 - 1);
  expect(await loadAudio(encodeWav(samples, 16000))).toEqual(samples);
});

test('the event loop turns while bytes in memory are decoded', async () => {
  const pieces = 6;
  const bytes = encodeWav(new Float32Array((pieces * pieceBytes) / 2), 16000);
  let turns = 0;
  let next = setImmediate(function turn() {
    turns++;
    next = setImmediate(turn);
  });
  await loadAudio(bytes);
  clearImmediate(next);
  expect(turns).toBeGreaterThanOrEqual(pieces - 1);
});
