import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AudioError, decodeAudio, encodeWav, loadAudio, toMono, writeWav } from '../../lib/audio';
import { CodecSession } from '../../lib/audio/codec-process';
import { keepHeadersWhole } from '../../lib/audio/source';
import { FileError } from '../../lib/files';
import { encodeFlac } from './flac';

const fixture = (name: string): string => join(__dirname, 'fixtures', name);

/** A wave file's bytes from its parts. */
function wav(options: {
  tag?: number;
  channels?: number;
  rate?: number;
  bits: number;
  data: Buffer;
  size?: number;
  before?: Buffer;
  extension?: Buffer;
}): Buffer {
  const { tag = 1, channels = 1, rate = 8000, bits, data, size = data.length } = options;
  const { before = Buffer.alloc(0), extension = Buffer.alloc(0) } = options;
  const format = Buffer.alloc(24);
  format.write('fmt ', 0, 'latin1');
  format.writeUInt32LE(16 + extension.length, 4);
  format.writeUInt16LE(tag, 8);
  format.writeUInt16LE(channels, 10);
  format.writeUInt32LE(rate, 12);
  format.writeUInt32LE((rate * channels * bits) / 8, 16);
  format.writeUInt16LE((channels * bits) / 8, 20);
  format.writeUInt16LE(bits, 22);
  const head = Buffer.alloc(8);
  head.write('data', 0, 'latin1');
  head.writeUInt32LE(size, 4);
  const body = Buffer.concat([Buffer.from('WAVE'), format, extension, before, head, data]);
  const riff = Buffer.alloc(8);
  riff.write('RIFF', 0, 'latin1');
  riff.writeUInt32LE(body.length, 4);
  return Buffer.concat([riff, body]);
}

const values = [0, 0.5, -0.5, 0.25, -1];

function packed(bytes: number, put: (buffer: Buffer, value: number, at: number) => void): Buffer {
  const buffer = Buffer.alloc(bytes * values.length);
  values.forEach((value, i) => put(buffer, value, i * bytes));
  return buffer;
}

const encodings: [string, number, number, Buffer][] = [
  ['8-bit', 1, 8, packed(1, (b, v, at) => b.writeUInt8(v * 128 + 128, at))],
  ['16-bit', 1, 16, packed(2, (b, v, at) => b.writeInt16LE(v * 2 ** 15, at))],
  ['24-bit', 1, 24, packed(3, (b, v, at) => b.writeIntLE(v * 2 ** 23, at, 3))],
  ['32-bit', 1, 32, packed(4, (b, v, at) => b.writeInt32LE(v * 2 ** 31, at))],
  ['32-bit float', 3, 32, packed(4, (b, v, at) => b.writeFloatLE(v, at))],
  ['64-bit float', 3, 64, packed(8, (b, v, at) => b.writeDoubleLE(v, at))],
];
const sixteen = encodings[1]![3];

describe('decodeAudio of wav', () => {
  test.each(encodings)('%s', async (_, tag, bits, data) => {
    const audio = await decodeAudio(wav({ tag, bits, data, rate: 11025 }));
    expect(audio.sampleRate).toBe(11025);
    expect(audio.samples.map((channel) => [...channel])).toEqual([values]);
  });

  test('several channels, extensible, other chunks of odd length before the samples', async () => {
    const extension = Buffer.alloc(24);
    extension.writeUInt16LE(22, 0);
    extension.writeUInt16LE(1, 8);
    const before = Buffer.concat([Buffer.from('LIST'), Buffer.from([3, 0, 0, 0, 1, 2, 3, 0])]);
    const data = Buffer.concat([sixteen, sixteen.subarray(0, 2)]);
    const bytes = wav({ tag: 0xfffe, channels: 3, bits: 16, data, before, extension });
    const { samples } = await decodeAudio(bytes);
    expect(samples.map((channel) => [...channel])).toEqual([
      [0, 0.25],
      [0.5, -1],
      [-0.5, 0],
    ]);
  });

  test.each([0, 0xffffffff])('written to a pipe, with size %i', async (size) => {
    const { samples } = await decodeAudio(wav({ bits: 16, data: sixteen, size }));
    expect([...samples[0]!]).toEqual(values);
  });

  test('coded as G.711, at 8 kHz', async () => {
    const { samples, sampleRate } = await decodeAudio(fixture('tones-mulaw.wav'));
    expect(sampleRate).toBe(8000);
    expect(samples).toHaveLength(1);
    expect(samples[0]!.length).toBe(3200);
  });
});

test.each([8, 16, 24])('flac of %i bits gives what wav gives, to the bit', async (bits) => {
  const top = 2 ** (bits - 1);
  const all = [-top, 1 - top, -1, 0, 1, top - 2, top - 1];
  // Enough for several frames; a step that no power of two divides.
  for (let i = 0; i < 9000; i++) all.push(((i * 7919 * (bits - 7)) % (2 * top)) - top);
  const left = Int32Array.from(all);
  const right = left.slice().reverse();
  const { samples, sampleRate } = await decodeAudio(encodeFlac([left, right], bits));
  expect(sampleRate).toBe(16000);
  expect(samples).toEqual([left, right].map((ints) => Float32Array.from(ints, (i) => i / top)));
  if (bits === 8) return; // which wav counts from 0
  const data = Buffer.alloc((bits / 8) * left.length);
  left.forEach((value, i) => data.writeIntLE(value, (i * bits) / 8, bits / 8));
  expect((await decodeAudio(wav({ bits, data }))).samples).toEqual([samples[0]]);
});

describe('decodeAudio of compressed files', () => {
  /** Level of a frequency in a clip. */
  function level(samples: Float32Array, hertz: number, rate: number): number {
    let [re, im] = [0, 0];
    samples.forEach((sample, i) => {
      re += sample * Math.cos((2 * Math.PI * hertz * i) / rate);
      im += sample * Math.sin((2 * Math.PI * hertz * i) / rate);
    });
    return (2 * Math.hypot(re, im)) / samples.length;
  }

  // How many samples, at 22,050 Hz, an encoder may have added or lost.
  test.each([
    ['tones.flac', 0],
    ['tones-alac.m4a', 0],
    ['tones.ogg', 0],
    ['tones.m4a', 0],
    ['tones-faststart.m4a', 0],
    ['tones-fragmented.m4a', 2400],
    ['tones.mp3', 2400],
    ['tones.opus', 0],
  ])('%s: a tone a channel', async (file, spare) => {
    const { samples, sampleRate } = await decodeAudio(fixture(file));
    expect(sampleRate).toBe(file.endsWith('opus') ? 48000 : 22050);
    expect(samples).toHaveLength(2);
    const [left, right] = samples as [Float32Array, Float32Array];
    expect(Math.abs(left.length - 0.4 * sampleRate)).toBeLessThanOrEqual(spare);
    expect(level(left, 440, sampleRate)).toBeGreaterThan(0.4);
    expect(level(right, 1000, sampleRate)).toBeGreaterThan(0.4);
    expect(level(left, 1000, sampleRate)).toBeLessThan(0.03);
  });

  test('a flac, wherever pieces end', async () => {
    const bytes = new Uint8Array(readFileSync(fixture('tones.flac')));
    const frames = [...bytes.keys()].filter(
      (at) => bytes[at] === 0xff && (bytes[at + 1]! & 0xfe) === 0xf8,
    );
    expect(frames.length).toBeGreaterThan(1);
    for (const end of frames.flatMap((at) => [at - 1, at, at + 1, at + 3, at + 6, at + 9])) {
      const pieces = (async function* () {
        yield bytes.subarray(0, end);
        yield await Promise.resolve(bytes.subarray(end));
      })();
      const session = new CodecSession();
      let decoded = 0;
      for await (const piece of keepHeadersWhole(pieces)) {
        decoded += (await session.push(piece)).samples[0]?.length ?? 0;
      }
      decoded += (await session.end()).samples[0]?.length ?? 0;
      session.close();
      expect([end, decoded]).toEqual([end, 8820]);
    }
  });

  test('an m4a whose table stands behind is the one whose table stands before', async () => {
    const behind = await decodeAudio(fixture('tones.m4a'));
    expect(behind).toEqual(await decodeAudio(fixture('tones-faststart.m4a')));
    expect(behind).toEqual(await decodeAudio(readFileSync(fixture('tones.m4a'))));
  });

  test('six channels at 48 kHz', async () => {
    const { samples, sampleRate } = await decodeAudio(fixture('tones-six.opus'));
    expect(sampleRate).toBe(48000);
    expect(samples.map(({ length }) => length)).toEqual(new Array(6).fill(19200));
    expect((await loadAudio(fixture('tones-six.opus'))).length).toBe(6400);
  });

  test('many at once come back in their places', async () => {
    const files = ['tones.flac', 'tones.mp3', 'tones.flac', 'tones-mulaw.wav', 'tones.mp3'];
    const all = await Promise.all(files.map((file) => decodeAudio(fixture(file))));
    expect(all.map(({ samples }) => samples.length)).toEqual([2, 2, 2, 1, 2]);
    expect(all[0]).toEqual(all[2]);
  });
});

describe('loadAudio', () => {
  test('mixes to mono and resamples', async () => {
    const mono = await loadAudio(fixture('tones.flac'));
    expect(mono.length).toBe(Math.ceil((8820 * 16000) / 22050));
    expect((await loadAudio(fixture('tones.flac'), 22050)).length).toBe(8820);
    expect([...toMono([Float32Array.of(1, 0.5), Float32Array.of(0, -0.5)])]).toEqual([0.5, 0]);
    expect(() => toMono([])).toThrow(AudioError);
  });
});

function cut(name: string, part: number): Buffer {
  const bytes = readFileSync(fixture(name));
  return bytes.subarray(0, Math.round(part * bytes.length));
}

describe('audio that cannot be used', () => {
  const flac = readFileSync(fixture('tones.flac'));
  const mp3 = readFileSync(fixture('tones.mp3'));
  const nan = packed(4, (b, v, at) => b.writeFloatLE(v === 0.25 ? NaN : v, at));
  const cases: [string, Buffer, string][] = [
    ['an empty file', Buffer.alloc(0), 'is empty'],
    [
      'a text',
      Buffer.from('Dear diary, today I recorded nothing.'.repeat(20)),
      'cannot be decoded',
    ],
    ['a page', Buffer.from('<!DOCTYPE html><html><body>404</body></html>'), 'cannot be decoded'],
    ['noise', Buffer.from(Array.from({ length: 4000 }, (_, i) => (i * i * 31) % 251)), ''],
    ['a wav cut short', wav({ bits: 16, data: sixteen, size: 5000 }), 'is cut short'],
    ['a wav without samples', wav({ bits: 16, data: Buffer.alloc(0) }), 'has no samples'],
    ['a wav cut in its header', wav({ bits: 16, data: sixteen }).subarray(0, 30), 'is a damaged'],
    ['a wav of no channels', wav({ bits: 16, data: sixteen, channels: 0 }), 'is a damaged'],
    [
      'a wav of 65535 channels',
      wav({ bits: 8, data: Buffer.alloc(65535), channels: 65535 }),
      'is a damaged wave file (65535 channels at 8000 Hz)',
    ],
    ['a wav of rate 0', wav({ bits: 16, data: sixteen, rate: 0 }), 'is a damaged'],
    [
      'a wav of an unknown code',
      wav({ tag: 0x7777, bits: 16, data: sixteen }),
      'cannot be decoded',
    ],
    [
      'samples that are no numbers',
      wav({ tag: 3, bits: 32, data: nan }),
      'has samples that are not finite',
    ],
    ['a flac cut short', flac.subarray(0, 9000), ''],
    ['a flac of its header alone', flac.subarray(0, 60), ''],
    ['an mp3 cut short', mp3.subarray(0, 1200), 'is cut short'],
    ['an ogg cut short', cut('tones.ogg', 0.7), 'is cut short'],
    ['an opus cut short', cut('tones.opus', 0.7), 'is cut short'],
    ['an m4a cut short', cut('tones-faststart.m4a', 0.7), 'is cut short'],
    ['an m4a cut short, its table behind', cut('tones.m4a', 0.7), 'has no table of its samples'],
    ['a fragmented m4a cut short', cut('tones-fragmented.m4a', 0.7), 'is cut short'],
    ['an alac cut short', cut('tones-alac.m4a', 0.7), ''],
    [
      'a wav at a rate of nothing',
      wav({ bits: 16, data: sixteen, rate: 5 }),
      'has a sampling rate',
    ],
    [
      'a wav at a rate of radio',
      wav({ bits: 16, data: sixteen, rate: 2e9 }),
      'has a sampling rate',
    ],
  ];
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'pare-audio-'));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test.each(cases)('%s', async (_, bytes, message) => {
    const path = join(dir, 'speech.bin');
    writeFileSync(path, bytes);
    const error = await loadAudio(path).then(
      () => undefined,
      (reason: Error) => reason,
    );
    expect(error).toBeInstanceOf(AudioError);
    expect(error!.message).toContain(`${path} ${message}`);
    expect(error!.message).not.toContain('\n');
    expect(error!.message).toMatch(/; (give|fetch|leave|write) /);
  });

  test('after all that the decoder still works', async () => {
    expect((await decodeAudio(flac)).samples[0]!.length).toBe(8820);
  });

  test('a path that is not there, or a folder', async () => {
    await expect(loadAudio(join(dir, 'absent.wav'))).rejects.toThrow(FileError);
    await expect(loadAudio(join(dir, 'absent.wav'))).rejects.toThrow('absent.wav: no such file');
    await expect(loadAudio(dir)).rejects.toThrow('it is a folder');
  });
});

describe('writeWav', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'pare-wav-'));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test('writes what is read again, clipped to 16 bits', async () => {
    const path = join(dir, 'new/folder/a.wav');
    writeWav(path, Float32Array.of(0, 0.5, -0.25, 1.5, -1.5), 16000);
    const { samples, sampleRate } = await decodeAudio(path);
    expect(sampleRate).toBe(16000);
    expect([...samples[0]!]).toEqual([0, 0.5, -0.25, Math.fround(32767 / 32768), -1]);
    expect(readdirSync(join(dir, 'new/folder'))).toEqual(['a.wav']);
    expect(encodeWav(new Float32Array(0), 8000).length).toBe(44);
  });

  test('refuses samples that are no numbers, and writes nothing', () => {
    const path = join(dir, 'b.wav');
    expect(() => writeWav(path, Float32Array.of(0, NaN), 16000)).toThrow(AudioError);
    expect(readdirSync(dir)).not.toContain('b.wav');
  });
});
