import {
  addNoise,
  gain,
  highPass,
  logMel,
  lowPass,
  pitchShift,
  room,
  specAugment,
  speed,
  tempo,
  type Random,
} from '../../lib/audio';

/** Mulberry32, a small seeded generator. */
function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function tone(hertz: number, length = 16000): Float32Array {
  return Float32Array.from({ length }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hertz * i) / 16000));
}

/** Frequency of a tone, from its upward crossings of zero in the middle of the clip. */
function frequency(samples: Float32Array): number {
  const crossings: number[] = [];
  for (let i = 2000; i < samples.length - 2000; i++) {
    const [a, b] = [samples[i - 1]!, samples[i]!];
    if (a < 0 && b >= 0) crossings.push(i - b / (b - a));
  }
  return ((crossings.length - 1) * 16000) / (crossings.at(-1)! - crossings[0]!);
}

function power(samples: Float32Array): number {
  return samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
}

describe('augmentation', () => {
  test('speed changes length and pitch together', () => {
    const faster = speed(tone(400), [1.25, 1.25], seeded(1));
    expect(faster.length).toBe(12800);
    expect(frequency(faster)).toBeCloseTo(500, 0);
  });

  test.each([0.8, 0.9, 1.1, 1.3])('tempo %d changes the length and keeps the pitch', (factor) => {
    const output = tempo(tone(330), [factor, factor], seeded(1));
    expect(output.length).toBe(Math.round(16000 / factor));
    expect(Math.abs(frequency(output) - 330)).toBeLessThan(4);
    expect(power(output) / power(tone(330))).toBeGreaterThan(0.9);
    expect(output.every(Number.isFinite)).toBe(true);
  });

  test.each([-3, 3])('pitchShift by %d semitones keeps the length', (semitones) => {
    const output = pitchShift(tone(330), [semitones, semitones], seeded(1));
    expect(output.length).toBe(16000);
    expect(Math.abs(frequency(output) - 330 * 2 ** (semitones / 12))).toBeLessThan(6);
  });

  test('gain is in decibels and does not clip', () => {
    expect(power(gain(tone(400), [-6, -6], seeded(1))) / power(tone(400))).toBeCloseTo(0.2512, 3);
    const loud = gain(tone(400), [40, 40], seeded(1));
    expect(Math.max(...loud)).toBeCloseTo(1, 5);
    expect(gain(new Float32Array(5), [6, 6], seeded(1))).toEqual(new Float32Array(5));
  });

  test('filters pass one side of their corner', () => {
    const ratio = (filtered: Float32Array, hertz: number): number =>
      power(filtered.subarray(2000)) / power(tone(hertz).subarray(2000));
    expect(ratio(lowPass(tone(1000), [1000, 1000], seeded(1)), 1000)).toBeCloseTo(0.5, 1);
    expect(ratio(lowPass(tone(200), [1000, 1000], seeded(1)), 200)).toBeGreaterThan(0.99);
    expect(ratio(lowPass(tone(5000), [1000, 1000], seeded(1)), 5000)).toBeLessThan(0.002);
    expect(ratio(highPass(tone(5000), [1000, 1000], seeded(1)), 5000)).toBeGreaterThan(0.99);
    expect(ratio(highPass(tone(200), [1000, 1000], seeded(1)), 200)).toBeLessThan(0.002);
    expect(() => lowPass(tone(1), [8000, 8000], seeded(1))).toThrow(RangeError);
  });

  test.each(['white', 'pink'] as const)('%s noise has the ratio asked for', (color) => {
    const clean = tone(400);
    const noise = addNoise(clean, [10, 10], seeded(5), color).map((x, i) => x - clean[i]!);
    expect(10 * Math.log10(power(clean) / power(noise))).toBeCloseTo(10, 3);
    const dull = power(lowPass(noise, [500, 500], seeded(1)));
    // 500 of 8000 Hz hold a sixteenth of white noise and far more of pink.
    if (color === 'white') expect(dull / power(noise)).toBeLessThan(0.12);
    else expect(dull / power(noise)).toBeGreaterThan(0.4);
    expect(addNoise(new Float32Array(100), [10, 10], seeded(1), color)).toEqual(
      new Float32Array(100),
    );
  });

  test('room adds echoes and keeps level and length', () => {
    const click = new Float32Array(4000);
    click[100] = 1;
    const echoed = room(click, [0.3, 0.3], seeded(3));
    expect(echoed.length).toBe(4000);
    expect(echoed.filter((sample) => sample !== 0).length).toBe(7);
    expect(power(echoed)).toBeCloseTo(power(click), 8);
  });

  const all: [string, (samples: Float32Array, random: Random) => Float32Array][] = [
    ['speed', (x, r) => speed(x, [0.9, 1.1], r)],
    ['tempo', (x, r) => tempo(x, [0.9, 1.1], r)],
    ['pitchShift', (x, r) => pitchShift(x, [-2, 2], r)],
    ['gain', (x, r) => gain(x, [-6, 6], r)],
    ['lowPass', (x, r) => lowPass(x, [3000, 6000], r)],
    ['highPass', (x, r) => highPass(x, [50, 300], r)],
    ['addNoise', (x, r) => addNoise(x, [10, 30], r)],
    ['room', (x, r) => room(x, [0.1, 0.4], r)],
  ];
  test.each(all)('%s depends on its seed alone and leaves its input', (_, change) => {
    const input = tone(300, 5000);
    const first = change(input, seeded(7));
    expect(change(input, seeded(7))).toEqual(first);
    expect(change(input, seeded(8))).not.toEqual(first);
    expect(input).toEqual(tone(300, 5000));
    for (const length of [0, 1, 3]) {
      expect(change(new Float32Array(length), seeded(7)).every(Number.isFinite)).toBe(true);
    }
  });
});

describe('specAugment', () => {
  const mel = logMel(addNoise(tone(400), [20, 20], seeded(1)));

  /** Bins and frames whose every value (of the frames that count) is `value`. */
  function masked(data: Float32Array, value: number): { bins: number; frames: number } {
    const at = (bin: number, frame: number): boolean =>
      data[bin * mel.computedFrames + frame] === Math.fround(value);
    const bins = Array.from({ length: mel.nMels }, (_, bin) => bin);
    const frames = Array.from({ length: mel.frames }, (_, frame) => frame);
    return {
      bins: bins.filter((bin) => frames.every((frame) => at(bin, frame))).length,
      frames: frames.filter((frame) => bins.every((bin) => at(bin, frame))).length,
    };
  }

  test('masks bands and stretches within their widths', () => {
    const widths = { bins: new Set<number>(), frames: new Set<number>() };
    const random = seeded(11);
    for (let i = 0; i < 60; i++) {
      const options = { frequencyMasks: 1, frequencyWidth: 8, timeMasks: 1, timeFraction: 0.1 };
      const { data } = specAugment(mel, random, { ...options, fill: 'floor' });
      const { bins, frames } = masked(data, mel.floor);
      widths.bins.add(bins);
      widths.frames.add(frames);
    }
    expect(Math.max(...widths.bins)).toBe(8);
    expect(Math.min(...widths.bins)).toBe(0);
    expect(Math.max(...widths.frames)).toBe(10);
    expect(Math.min(...widths.frames)).toBe(0);
  });

  test('fills with the mean, and touches nothing else', () => {
    const before = mel.data.slice();
    const { data, ...rest } = specAugment(mel, seeded(2), { timeMasks: 0, frequencyMasks: 1 });
    expect(rest).toEqual({ ...mel, data: undefined, ...rest });
    expect(mel.data).toEqual(before);
    const changed = [...data].filter((value, i) => value !== before[i]);
    expect(new Set(changed).size).toBe(1);
    expect(changed.length % mel.frames).toBe(0);
    let sum = 0;
    for (let bin = 0; bin < mel.nMels; bin++) {
      for (let frame = 0; frame < mel.frames; frame++) {
        sum += before[bin * mel.computedFrames + frame]!;
      }
    }
    expect(changed[0]).toBeCloseTo(sum / (mel.nMels * mel.frames), 5);
  });

  test('depends on its seed alone', () => {
    expect(specAugment(mel, seeded(3))).toEqual(specAugment(mel, seeded(3)));
    expect(specAugment(mel, seeded(3))).not.toEqual(specAugment(mel, seeded(4)));
  });
});
