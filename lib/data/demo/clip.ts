import {
  addNoise,
  highPass,
  lowPass,
  pitchShift,
  room as reverberate,
  speed,
} from '../../audio/augment';
import { resample } from '../../audio/resample';
import { stretchTempo } from '../../audio/tempo';
import { CorpusError } from '../error';
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

/**
 * Turns what a synthesiser said into a clip at 16 kHz: at most 2.5 s, trimmed, levelled, varied.
 * @throws CorpusError if it said nothing
 */
export function makeClip(speech: Speech, settings: ClipSettings, random: Random): Float32Array {
  const raw = Float32Array.from(speech.samples, (sample) => sample / 32768);
  let voice = trimSilence(resample(raw, speech.sampleRate, clipRate));
  if (voice.length === 0)
    throw new CorpusError('a synthesiser said nothing; run npm install again');
  const { before, after, level, speed: factor, semitones, band, noise, decay } = settings;
  if (factor) voice = speed(voice, [factor, factor], random.next);
  if (semitones) voice = pitchShift(voice, [semitones, semitones], random.next);
  const room = longestClip - before - after;
  if (voice.length > room * clipRate) {
    voice = stretchTempo(voice, voice.length / (room * clipRate));
  }
  const start = Math.round(before * clipRate);
  let samples: Float32Array = new Float32Array(start + voice.length + Math.round(after * clipRate));
  samples.set(voice, start);
  if (decay) samples = reverberate(samples, [decay, decay], random.next);
  if (band) {
    samples = highPass(samples, [band.low, band.low], random.next);
    samples = lowPass(samples, [band.high, band.high], random.next);
  }
  const own = rms(samples.subarray(start, start + voice.length));
  if (noise) samples = addNoise(samples, [noise.snr, noise.snr], random.next, noise.color);
  let peak = 0;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  const gain = Math.min(10 ** (level / 20) / own, 0.95 / peak);
  return samples.map((sample) => gain * sample);
}
