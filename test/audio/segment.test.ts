import fc from 'fast-check';
import { AudioError, Segmenter, type AudioSegment, type SegmentOptions } from '../../lib/audio';
import { concatenate } from '../../lib/audio/resample';
import { seededRandom } from '../../lib/data/random';

const rate = 16000;

function segment(
  samples: Float32Array,
  options: SegmentOptions = {},
  chunk = samples.length,
): AudioSegment[] {
  const segmenter = new Segmenter(options);
  const segments: AudioSegment[] = [];
  for (let at = 0; at < samples.length; at += chunk) {
    segments.push(...segmenter.push(samples.subarray(at, at + chunk)));
  }
  return [...segments, ...segmenter.end()];
}

/** A sound with the ups and downs of syllables. */
function speech(seconds: number, level = 0.3): Float32Array {
  return Float32Array.from({ length: Math.round(seconds * rate) }, (_, i) => {
    const t = i / rate;
    const syllable = 0.15 + 0.85 * Math.abs(Math.sin(2 * Math.PI * 2.3 * t + 1));
    return level * syllable * Math.sin(2 * Math.PI * 180 * t + 4 * Math.sin(2 * Math.PI * 5 * t));
  });
}

const silence = (seconds: number): Float32Array => new Float32Array(Math.round(seconds * rate));

function join(...parts: Float32Array[]): Float32Array {
  return concatenate(parts);
}

function noise(samples: Float32Array, level: number, offset = 0): Float32Array {
  const random = seededRandom('noise');
  return samples.map((sample) => {
    const radius = Math.sqrt(-2 * Math.log(1 - random.next()));
    return sample + offset + level * radius * Math.cos(2 * Math.PI * random.next());
  });
}

/** Speech segments in seconds. */
function spoken(segments: readonly AudioSegment[]): [number, number][] {
  return segments
    .filter(({ silent }) => !silent)
    .map(({ start, end }) => [start / rate, end / rate]);
}

/** That every sample is in a segment, that segments hold what they say, and are not too long. */
function checkCover(samples: Float32Array, segments: AudioSegment[], maxSeconds: number): void {
  let end = 0;
  for (const [i, segment] of segments.entries()) {
    expect(segment.start).toBe(end - segment.overlap);
    expect(segment.end).toBeGreaterThan(end);
    expect(segment.overlap).toBeGreaterThanOrEqual(0);
    if (segment.silent) {
      expect(segment.samples).toHaveLength(0);
      expect(segment.overlap).toBe(0);
      // Silence is one segment.
      expect(segments[i - 1]?.silent ?? false).toBe(false);
    } else {
      expect(segment.samples.length).toBeLessThanOrEqual(maxSeconds * rate);
      const own = samples.subarray(segment.start, segment.end);
      expect(Buffer.compare(bytesOf(segment.samples), bytesOf(own))).toBe(0);
    }
    ({ end } = segment);
  }
  expect(end).toBe(samples.length);
}

const bounds = (segments: readonly AudioSegment[]): unknown =>
  segments.map(({ start, end, silent, overlap }) => [start, end, silent, overlap]);

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

describe('Segmenter', () => {
  test('loses no sample, whatever it hears, and cuts the same however it is pushed', () => {
    const part = fc.record({
      kind: fc.constantFrom('speech', 'silence', 'tone', 'noise', 'click'),
      seconds: fc.double({ min: 0.001, max: 4, noNaN: true }),
      level: fc.double({ min: 0.0001, max: 0.9, noNaN: true }),
    });
    const options = fc.record({
      maxSeconds: fc.constantFrom(1, 2, 3, 7.5),
      pauseSeconds: fc.constantFrom(0.1, 0.5, 1),
    });
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 1, maxLength: 6 }),
        options,
        fc.integer({ min: 50, max: 30_000 }),
        (parts, options, chunk) => {
          const samples = join(
            ...parts.map(({ kind, seconds, level }) => {
              if (kind === 'speech') return speech(seconds, level);
              if (kind === 'noise') return noise(silence(seconds), level / 4);
              if (kind === 'click') return join(silence(seconds), speech(0.01, level));
              const hertz = kind === 'tone' ? 300 : 0;
              return silence(seconds).map((_, i) => level * Math.sin((hertz * i) / rate));
            }),
          );
          const segments = segment(samples, options);
          checkCover(samples, segments, options.maxSeconds);
          expect(bounds(segment(samples, options, chunk))).toEqual(bounds(segments));
        },
      ),
      { seed: 11, numRuns: 40 },
    );
  });

  test('cuts at pauses, with a tenth of a second around speech', () => {
    const samples = join(
      ...[silence(1.2), speech(6), silence(0.7), speech(8), silence(3), speech(5.5)],
    );
    const segments = segment(samples);
    checkCover(samples, segments, 30);
    const expected = [1.2, 7.2, 7.9, 15.9, 18.9, 24.4];
    const found = spoken(segments).flat();
    expect(found).toHaveLength(6);
    found.forEach((time, i) => {
      expect(Math.abs(time - expected[i]!)).toBeLessThan(0.16);
    });
  });

  test.each([0.003, 0.01])('cuts at pauses in noise of %d, and with an offset', (level) => {
    const clean = join(speech(6), silence(0.8), speech(7), silence(0.8), speech(5));
    const found = spoken(segment(noise(clean, level, 0.1))).flat();
    const expected = [0, 6, 6.8, 13.8, 14.6, 19.6];
    expect(found).toHaveLength(6);
    found.forEach((time, i) => {
      expect(Math.abs(time - expected[i]!)).toBeLessThan(0.3);
    });
  });

  test('does not cut at a short pause, or before the minimum', () => {
    const samples = join(speech(6), silence(0.3), speech(2), silence(0.7), speech(3));
    expect(spoken(segment(samples))).toHaveLength(2);
    expect(spoken(segment(samples, { minSeconds: 10 }))).toHaveLength(1);
    expect(spoken(segment(samples, { pauseSeconds: 0.2, minSeconds: 1 }))).toHaveLength(3);
    // A long one ends a word even.
    expect(spoken(segment(join(speech(1), silence(2), speech(1))))).toHaveLength(2);
  });

  test('takes the longest pause where none is long enough', () => {
    const samples = join(speech(5), silence(0.15), speech(2), silence(0.3), speech(6));
    const segments = segment(samples, { maxSeconds: 10 });
    checkCover(samples, segments, 10);
    expect(segments.every(({ overlap }) => overlap === 0)).toBe(true);
    const [first] = spoken(segments);
    expect(first![1]).toBeGreaterThan(7.15);
    expect(first![1]).toBeLessThan(7.45);
  });

  test('overlaps where there is no pause', () => {
    const samples = speech(70, 0.5);
    const segments = segment(samples, { overlapSeconds: 1 });
    checkCover(samples, segments, 30);
    expect(segments.length).toBe(3);
    for (const { overlap } of segments.slice(1)) {
      expect(overlap / rate).toBeGreaterThanOrEqual(0.5);
      expect(overlap / rate).toBeLessThanOrEqual(1.25);
    }
  });

  test.each([
    ['digital silence', silence(100)],
    ['an offset', silence(40).fill(0.2)],
    ['the noise of 16 bits', noise(silence(40), 1 / 32768)],
    ['hiss', noise(silence(40), 0.002)],
    [
      'a click now and then',
      join(silence(20), speech(0.02), silence(20), speech(0.03), silence(3)),
    ],
    ['a tenth of a second', silence(0.1)],
  ])('%s is one silent segment', (_, samples) => {
    expect(segment(samples)).toEqual([
      { start: 0, end: samples.length, silent: true, samples: new Float32Array(0), overlap: 0 },
    ]);
  });

  test.each([0.9, 0.1, 0.01, 0.003])(
    'speech at a level of %d is heard, a short word too',
    (level) => {
      const segments = segment(join(silence(3), speech(0.25, level), silence(3), speech(4, level)));
      expect(spoken(segments)).toHaveLength(2);
    },
  );

  test('one who speaks softly beside one who is loud is heard', () => {
    const samples = noise(
      join(speech(6, 0.6), silence(1), speech(6, 0.03), silence(1), speech(6, 0.6)),
      0.0003,
    );
    const found = spoken(segment(samples));
    expect(found).toHaveLength(3);
    expect(found[1]![0]).toBeGreaterThan(6.5);
    expect(found[1]![1]).toBeLessThan(13.6);
  });

  test('nothing is nothing', () => {
    expect(segment(new Float32Array(0))).toEqual([]);
  });

  test.each<[SegmentOptions, string]>([
    [{ maxSeconds: 0.5 }, '1 s or more'],
    [{ maxSeconds: Infinity }, '1 s or more'],
    [{ maxSeconds: NaN }, '1 s or more'],
    [{ minSeconds: 20 }, 'half of the maximum'],
    [{ minSeconds: -1 }, 'half of the maximum'],
    [{ pauseSeconds: 0 }, '0.1 s or more'],
    [{ overlapSeconds: 10 }, 'up to a quarter'],
  ])('refuses %o', (options, message) => {
    expect(() => new Segmenter(options)).toThrow(AudioError);
    expect(() => new Segmenter(options)).toThrow(message);
  });
});
