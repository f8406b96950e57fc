import { resample } from '../../audio/resample';
import type { Random } from '../random';
import type { ClipSettings } from './plan';
import type { Speech } from './pool';

/** Hz; Qwen2-Audio's. */
export const clipRate = 16000;
/** Seconds; no clip is longer. */
export const longestClip = 2.5;

/** Ten milliseconds, the grain at which silence is looked for. */
const frame = clipRate / 100;
/** A frame counts as silence this far (dB) under the loudest. */
const silence = -40;

function rms(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return Math.sqrt(sum / Math.max(1, samples.length));
}

/** Cuts the silence before and after the speech. */
export function trimSilence(samples: Float32Array): Float32Array {
  const levels: number[] = [];
  for (let at = 0; at < samples.length; at += frame) {
    levels.push(rms(samples.subarray(at, at + frame)));
  }
  const threshold = Math.max(...levels) * 10 ** (silence / 20);
  const first = levels.findIndex((level) => level > threshold);
  if (first < 0) return new Float32Array(0);
  let last = levels.length - 1;
  while (levels[last]! <= threshold) last--;
  return samples.slice(first * frame, (last + 1) * frame);
}

/** A band-pass of two first-order filters each way, as of a small microphone or a telephone. */
function bandPass(samples: Float32Array, low: number, high: number): void {
  const high1 = Math.exp((-2 * Math.PI * high) / clipRate);
  const low1 = Math.exp((-2 * Math.PI * low) / clipRate);
  for (let pass = 0; pass < 2; pass++) {
    let smooth = 0;
    let slow = 0;
    for (let i = 0; i < samples.length; i++) {
      smooth = (1 - high1) * samples[i]! + high1 * smooth;
      slow = (1 - low1) * smooth + low1 * slow;
      samples[i] = smooth - slow;
    }
  }
}

/** Adds noise whose power is `snr` dB under that of the speech. */
function addNoise(
  samples: Float32Array,
  speechLevel: number,
  { snr, colour }: { snr: number; colour: number },
  random: Random,
): void {
  const noise = new Float32Array(samples.length);
  let last = 0;
  for (let i = 0; i < noise.length; i++) {
    last = colour * last + (random.next() + random.next() + random.next() - 1.5);
    noise[i] = last;
  }
  const gain = (speechLevel * 10 ** (-snr / 20)) / rms(noise);
  for (let i = 0; i < noise.length; i++) samples[i] = samples[i]! + gain * noise[i]!;
}

/** Turns what a synthesiser said into a clip at 16 kHz: at most 2.5 s, trimmed, levelled, varied. */
export function makeClip(speech: Speech, settings: ClipSettings, random: Random): Float32Array {
  const raw = Float32Array.from(speech.samples, (sample) => sample / 32768);
  // Speed as of a tape: taking the samples for those of another rate moves the formants too.
  const from = Math.round((speech.sampleRate * settings.speed) / 50) * 50;
  let voice = trimSilence(resample(raw, from, clipRate));
  const room = longestClip - settings.before - settings.after;
  if (voice.length > room * clipRate) {
    voice = resample(voice, Math.ceil(voice.length / room / 100) * 100, clipRate);
  }
  const before = Math.round(settings.before * clipRate);
  const samples = new Float32Array(before + voice.length + Math.round(settings.after * clipRate));
  samples.set(voice, before);
  if (settings.band) bandPass(samples, settings.band.low, settings.band.high);
  const level = rms(samples.subarray(before, before + voice.length));
  if (settings.noise) addNoise(samples, level, settings.noise, random);
  let peak = 0;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  const gain = Math.min(10 ** (settings.level / 20) / level, 0.95 / peak);
  for (let i = 0; i < samples.length; i++) samples[i] = gain * samples[i]!;
  return samples;
}
