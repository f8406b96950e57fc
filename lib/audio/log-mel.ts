import { AudioError } from './error';
import { RealFft } from './fft';
import { melFilterBank, type MelFilter } from './mel-filters';

/** Sampling rate that Whisper's features are defined for, in Hz. */
export const sampleRate = 16000;
/** Samples in an analysis window. */
export const fftSize = 400;
/** Samples from one frame to the next: 10 ms. */
export const hopLength = 160;

/** Log-mel features of a clip, without the constant frames of the padding. */
export interface LogMel {
  /** [nMels, computedFrames], mel-major. */
  data: Float32Array;
  nMels: number;
  /** Frames in `data`: all that the audio touches. */
  computedFrames: number;
  /** Frames that count as audio, m in the reference's attention mask; at most `computedFrames`. */
  frames: number;
  /** The value of every frame from `computedFrames` up to any window. */
  floor: number;
}

/** Options of {@link logMel}. */
export interface LogMelOptions {
  /** Number of mel bins; 128 in Whisper large v3 and Qwen2-Audio. */
  nMels?: number;
  /** Samples of the window that the reference pads the audio to; 480,000 (30 s) if absent. */
  windowSamples?: number;
}

/**
 * Whisper's log-mel features of a clip that the reference pads with zeros to a whole window:
 * `WhisperFeatureExtractor` of transformers (n_fft 400, hop 160, periodic Hann, reflected edges,
 * last frame dropped, log10, at most 8 below the maximum, (x + 4) / 4). A frame that lies wholly
 * in the padding is a constant, so only frames that the audio touches are computed; the rest is
 * {@link padLogMel}.
 *
 * @param samples mono, 16 kHz, [-1, 1]
 * @throws AudioError if there are no samples, more than the window holds, or one is not a number
 */
export function logMel(samples: Float32Array, options: LogMelOptions = {}): LogMel {
  const { nMels = 128, windowSamples = 480000 } = options;
  if (samples.length === 0) {
    throw new AudioError('no log-mel features of 0 samples; leave empty audio out');
  }
  if (samples.length > windowSamples) {
    throw new AudioError(
      `log-mel features of ${samples.length} samples do not fit a window of ${windowSamples}; cut the audio`,
    );
  }
  const windowFrames = Math.floor(windowSamples / hopLength);
  const touched = Math.ceil((samples.length + fftSize / 2) / hopLength);
  const computedFrames = Math.min(windowFrames, touched);
  const filters = filtersFor(nMels);
  const data = new Float32Array(nMels * computedFrames);
  let highest = -10;
  for (let frame = 0; frame < computedFrames; frame++) {
    readFrame(samples, frame * hopLength - fftSize / 2, windowSamples);
    fft.power(windowed, power);
    for (let mel = 0; mel < nMels; mel++) {
      const { start, weights } = filters[mel]!;
      let energy = 0;
      for (let i = 0; i < weights.length; i++) energy += weights[i]! * power[start + i]!;
      const value = Math.log10(Math.max(energy, 1e-10));
      if (value > highest) highest = value;
      data[mel * computedFrames + frame] = value;
    }
  }
  if (!Number.isFinite(highest) || data.some(Number.isNaN)) {
    throw new AudioError('a sample is not a finite number; check what made the audio');
  }
  const lowest = highest - 8;
  for (let i = 0; i < data.length; i++) data[i] = (Math.max(data[i]!, lowest) + 4) / 4;
  return {
    data,
    nMels,
    computedFrames,
    frames: Math.min(windowFrames, Math.ceil(samples.length / hopLength)),
    floor: Math.fround((Math.max(-10, lowest) + 4) / 4),
  };
}

/**
 * The features of a window of `frames` frames, [nMels, frames] mel-major: those computed, then the
 * constant of the padding. Frames beyond `frames` are cut.
 */
export function padLogMel(mel: LogMel, frames: number): Float32Array {
  const padded = new Float32Array(mel.nMels * frames).fill(mel.floor);
  const kept = Math.min(frames, mel.computedFrames);
  for (let bin = 0; bin < mel.nMels; bin++) {
    const start = bin * mel.computedFrames;
    padded.set(mel.data.subarray(start, start + kept), bin * frames);
  }
  return padded;
}

const fft = new RealFft(fftSize);
const windowed = new Float64Array(fftSize);
const power = new Float64Array(fftSize / 2 + 1);
const hann = Float64Array.from(
  { length: fftSize },
  (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / fftSize),
);

/** Reads a windowed frame of the padded audio; beyond the window's two ends it is mirrored. */
function readFrame(samples: Float32Array, start: number, windowSamples: number): void {
  for (let i = 0; i < fftSize; i++) {
    let at = start + i;
    if (at < 0) at = -at;
    else if (at >= windowSamples) at = 2 * windowSamples - 2 - at;
    windowed[i] = at < samples.length ? samples[at]! * hann[i]! : 0;
  }
}

const filterBanks = new Map<number, MelFilter[]>();

function filtersFor(nMels: number): MelFilter[] {
  let filters = filterBanks.get(nMels);
  if (!filters) {
    filters = melFilterBank(nMels, fftSize / 2 + 1, sampleRate);
    filterBanks.set(nMels, filters);
  }
  return filters;
}
