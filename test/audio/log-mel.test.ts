import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AudioError, logMel, padLogMel } from '../../lib/audio';
import { RealFft } from '../../lib/audio/fft';
import { sixteenBit } from './sixteen-bit';

const folder = join(__dirname, '../oracle/vectors/processor');

interface MelVector {
  audio: string;
  mel: string;
  windowFrames: number;
  firstFrame: number;
  endFrame: number;
  validFrames: number;
  floor: number | null;
}

interface EdgeVector {
  length: number;
  gain: number;
  validFrames: number;
  firstConstantFrame: number;
  floor: number;
}

const vectors = JSON.parse(readFileSync(join(folder, 'vectors.json'), 'utf8')) as {
  mels: MelVector[];
  edges: EdgeVector[];
};

function floats(file: string): Float32Array {
  const bytes = readFileSync(join(folder, file));
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}

describe('logMel against WhisperFeatureExtractor', () => {
  test.each(vectors.mels)('$mel', (vector) => {
    const { windowFrames, firstFrame, endFrame } = vector;
    const mel = logMel(sixteenBit(join(folder, vector.audio)), {
      windowSamples: windowFrames * 160,
    });
    expect(mel.frames).toBe(vector.validFrames);
    expect(mel.computedFrames).toBeGreaterThanOrEqual(endFrame);
    const expected = floats(vector.mel);
    const actual = padLogMel(mel, windowFrames);
    const kept = endFrame - firstFrame;
    let worst = 0;
    for (let bin = 0; bin < 128; bin++) {
      for (let i = 0; i < kept; i++) {
        const difference = actual[bin * windowFrames + firstFrame + i]! - expected[bin * kept + i]!;
        worst = Math.max(worst, Math.abs(difference));
      }
    }
    expect(worst).toBeLessThan(1e-5);
    if (vector.floor !== null) expect(Math.abs(mel.floor - vector.floor)).toBeLessThan(1e-5);
  });

  test.each(vectors.edges)('$length samples times $gain', (edge) => {
    const audio = sixteenBit(join(folder, 'audio-2.37.i16')).slice(2000, 2000 + edge.length);
    const mel = logMel(audio.map((sample) => sample * edge.gain));
    expect(mel.frames).toBe(edge.validFrames);
    expect(mel.computedFrames).toBeGreaterThanOrEqual(edge.firstConstantFrame);
    expect(Math.abs(mel.floor - edge.floor)).toBeLessThan(1e-5);
  });
});

describe('logMel', () => {
  const clip = sixteenBit(join(folder, 'audio-1.0.i16'));

  test('gives for a clip what it gives for the clip padded with zeros by hand', () => {
    const whole = new Float32Array(48000);
    whole.set(clip);
    const padded = logMel(whole, { windowSamples: 48000 });
    expect(padded.computedFrames).toBe(300);
    const short = logMel(clip, { windowSamples: 48000 });
    expect(short.computedFrames).toBe(102);
    expect(padLogMel(short, 300)).toEqual(padded.data);
    expect(padLogMel(short, 50)).toEqual(padLogMel(padded, 50));
  });

  test('refuses audio that is empty, too long or not finite', () => {
    expect(() => logMel(new Float32Array(0))).toThrow(AudioError);
    expect(() => logMel(clip, { windowSamples: 15999 })).toThrow('do not fit a window of 15999');
    expect(() => logMel(clip.map((x, i) => (i === 700 ? NaN : x)))).toThrow('not a finite number');
    expect(() => logMel(clip.map((x, i) => (i === 700 ? Infinity : x)))).toThrow(AudioError);
  });

  test('takes another number of mel bins', () => {
    const mel = logMel(clip, { nMels: 80 });
    expect(mel.data.length).toBe(80 * mel.computedFrames);
    expect(Math.max(...mel.data) - mel.floor).toBeCloseTo(2, 5);
  });
});

describe('RealFft', () => {
  test.each([8, 20, 50, 80, 400])('length %i equals the sum that defines it', (size) => {
    const signal = Float64Array.from({ length: size }, (_, i) => Math.sin(i * i) + (i % 3));
    const power = new Float64Array(size / 2 + 1);
    new RealFft(size).power(signal, power);
    for (let k = 0; k <= size / 2; k++) {
      let [re, im] = [0, 0];
      for (let n = 0; n < size; n++) {
        re += signal[n]! * Math.cos((2 * Math.PI * k * n) / size);
        im -= signal[n]! * Math.sin((2 * Math.PI * k * n) / size);
      }
      expect(Math.abs(power[k]! - (re * re + im * im))).toBeLessThan(1e-8 * size);
    }
  });

  test('refuses a length it has no butterflies for', () => {
    expect(() => new RealFft(14)).toThrow(RangeError);
  });
});
