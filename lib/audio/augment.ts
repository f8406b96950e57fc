import { biquad } from './biquad';
import { resample } from './resample';
import { stretchTempo } from './tempo';

/** A seeded source of numbers in [0, 1). */
export type Random = () => number;

/** Lowest and highest value of a parameter that is drawn evenly between them. */
export type Range = readonly [low: number, high: number];

/**
 * Plays faster or slower, the pitch going with it.
 * @param factor above 1 is faster and higher; rounded to hundredths
 */
export function speed(samples: Float32Array, factor: Range, random: Random): Float32Array {
  return resample(samples, Math.max(1, Math.round(100 * draw(factor, random))), 100);
}

/**
 * Speaks faster or slower at the same pitch.
 * @param factor above 1 is faster
 */
export function tempo(samples: Float32Array, factor: Range, random: Random): Float32Array {
  return stretchTempo(samples, draw(factor, random));
}

/** Speaks higher or lower in the same time. */
export function pitchShift(samples: Float32Array, semitones: Range, random: Random): Float32Array {
  const percent = Math.max(1, Math.round(100 * 2 ** (draw(semitones, random) / 12)));
  const higher = resample(samples, percent, 100);
  const stretched = stretchTempo(higher, higher.length / Math.max(1, samples.length));
  const output = new Float32Array(samples.length);
  output.set(stretched.subarray(0, output.length));
  return output;
}

/** Louder or softer, but never raised above a peak of 1. */
export function gain(samples: Float32Array, decibels: Range, random: Random): Float32Array {
  let peak = 0;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  const factor = Math.min(10 ** (draw(decibels, random) / 20), Math.max(1, 1 / peak));
  return samples.map((sample) => sample * factor);
}

/** Takes away what is above a frequency in Hz, by 12 dB an octave. */
export function lowPass(
  samples: Float32Array,
  hertz: Range,
  random: Random,
  rate = 16000,
): Float32Array {
  return biquad(samples, 'lowPass', draw(hertz, random), rate);
}

/** Takes away what is below a frequency in Hz, by 12 dB an octave. */
export function highPass(
  samples: Float32Array,
  hertz: Range,
  random: Random,
  rate = 16000,
): Float32Array {
  return biquad(samples, 'highPass', draw(hertz, random), rate);
}

/**
 * Adds noise at a signal-to-noise ratio over the whole clip. Silence stays as it is.
 * @param snr decibels
 * @param color white, or pink: 3 dB less an octave
 */
export function addNoise(
  samples: Float32Array,
  snr: Range,
  random: Random,
  color: 'white' | 'pink' = 'white',
): Float32Array {
  const noise =
    color === 'white' ? whiteNoise(samples.length, random) : pinkNoise(samples.length, random);
  const ratio = 10 ** (draw(snr, random) / 20);
  const noiseLevel = rootMeanSquare(noise);
  const factor = noiseLevel > 0 ? rootMeanSquare(samples) / noiseLevel / ratio : 0;
  return samples.map((sample, i) => sample + factor * noise[i]!);
}

/**
 * A small room: six echoes at random times within 80 ms, decaying exponentially. The length stays,
 * and so does the level.
 *
 * @param decay seconds in which an echo is 60 dB down, for example [0.1, 0.4]
 */
export function room(
  samples: Float32Array,
  decay: Range,
  random: Random,
  rate = 16000,
): Float32Array {
  const seconds = draw(decay, random);
  const output = samples.slice();
  for (let echo = 0; echo < 6; echo++) {
    const time = 0.004 + 0.076 * random();
    const delay = Math.round(time * rate);
    const sign = random() < 0.5 ? -1 : 1;
    const factor = sign * 0.7 * 10 ** ((-3 * time) / seconds);
    for (let i = delay; i < output.length; i++)
      output[i] = output[i]! + factor * samples[i - delay]!;
  }
  const level = rootMeanSquare(output);
  const factor = level > 0 ? rootMeanSquare(samples) / level : 1;
  return output.map((sample) => sample * factor);
}

function draw([low, high]: Range, random: Random): number {
  return low + (high - low) * random();
}

function rootMeanSquare(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return samples.length > 0 ? Math.sqrt(sum / samples.length) : 0;
}

/** Normal noise by Box and Muller's method. */
function whiteNoise(length: number, random: Random): Float32Array {
  const noise = new Float32Array(length);
  for (let i = 0; i < length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    noise[i] = radius * Math.cos(angle);
    if (i + 1 < length) noise[i + 1] = radius * Math.sin(angle);
  }
  return noise;
}

/** White noise through Paul Kellet's three poles. */
function pinkNoise(length: number, random: Random): Float32Array {
  let [a, b, c] = [0, 0, 0];
  return whiteNoise(length, random).map((white) => {
    a = 0.99765 * a + 0.099046 * white;
    b = 0.963 * b + 0.2965164 * white;
    c = 0.57 * c + 1.0526913 * white;
    return a + b + c + 0.1848 * white;
  });
}
