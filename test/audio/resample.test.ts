import fc from 'fast-check';
import { AudioError, resample, Resampler } from '../../lib/audio';

function tone(hertz: number, rate: number, length: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin((2 * Math.PI * hertz * i) / rate));
}

/** Largest difference away from the ends, where the signal is not cut off. */
function worst(actual: Float32Array, expected: Float32Array, margin: number): number {
  let difference = 0;
  for (let i = margin; i < actual.length - margin; i++) {
    difference = Math.max(difference, Math.abs(actual[i]! - expected[i]!));
  }
  return difference;
}

const rates: [number, number][] = [
  [44100, 16000],
  [48000, 16000],
  [8000, 16000],
  [22050, 16000],
  [16000, 44100],
  [96000, 16000],
  [11025, 16000],
  [16000, 15999],
  [44101, 16000],
  [107, 100],
];

describe.each(rates)('resample %i to %i', (from, to) => {
  const low = Math.min(from, to) / 2;
  const length = Math.min(4 * from, 12000);

  test('passes what is below 0.9 of the lower Nyquist frequency unchanged, in phase', () => {
    for (const part of [0.01, 0.3, 0.6, 0.9]) {
      const output = resample(tone(part * low, from, length), from, to);
      const margin = Math.ceil((80 * to) / Math.min(from, to));
      expect(worst(output, tone(part * low, to, output.length), margin)).toBeLessThan(1e-4);
    }
  });

  test('gives ceil(n * to / from) samples', () => {
    for (const count of [0, 1, 2, 159, 160, 1001]) {
      const output = resample(new Float32Array(count), from, to);
      expect(output.length).toBe(Math.ceil((count * to) / from));
    }
  });

  test('keeps a constant', () => {
    const output = resample(new Float32Array(length).fill(0.5), from, to);
    const margin = Math.ceil((80 * to) / Math.min(from, to));
    expect(worst(output, new Float32Array(output.length).fill(0.5), margin)).toBeLessThan(1e-6);
  });
});

describe('resample', () => {
  test.each(rates.filter(([from, to]) => from > 1.1 * to))(
    '%i to %i lets nothing above the new Nyquist frequency through: more than 80 dB down',
    (from, to) => {
      for (const part of [1, 1.05, 1.3, 0.99 * (from / to)]) {
        const output = resample(tone((part * to) / 2, from, 12000), from, to);
        expect(worst(output, new Float32Array(output.length), 100)).toBeLessThan(1e-4);
      }
    },
  );

  test('makes no image of a low tone above the old Nyquist frequency', () => {
    const output = resample(tone(3000, 8000, 16000), 8000, 16000);
    const [re, im] = output
      .subarray(200, 31000)
      .reduce(
        ([re, im], sample, i) => [
          re! + sample * Math.cos((2 * Math.PI * 5000 * i) / 16000),
          im! + sample * Math.sin((2 * Math.PI * 5000 * i) / 16000),
        ],
        [0, 0],
      );
    expect((2 * Math.hypot(re!, im!)) / 30800).toBeLessThan(1e-4);
  });

  test('copies at the same rate and leaves its input alone', () => {
    const input = tone(100, 16000, 50);
    const output = resample(input, 16000, 16000);
    expect(output).toEqual(input);
    expect(output).not.toBe(input);
  });

  test.each([0, -1, 1.5, NaN])('refuses a rate of %d', (rate) => {
    expect(() => resample(new Float32Array(10), rate, 16000)).toThrow(AudioError);
    expect(() => resample(new Float32Array(10), 16000, rate)).toThrow(AudioError);
  });
});

test('a Resampler gives the same samples, however the input is cut', () => {
  const cuts = fc.array(fc.integer({ min: 0, max: 900 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(fc.constantFrom(...rates), cuts, ([from, to], lengths) => {
      const length = lengths.reduce((sum, part) => sum + part, 0);
      const input = Float32Array.from({ length }, (_, i) => Math.sin(i * i));
      const resampler = new Resampler(from, to);
      const output: number[] = [];
      let at = 0;
      for (const part of lengths) output.push(...resampler.push(input.slice(at, (at += part))));
      output.push(...resampler.end());
      expect(output).toEqual([...resample(input, from, to)]);
    }),
    { seed: 3, numRuns: 60 },
  );
});
