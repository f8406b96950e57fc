import type { Random } from './augment';
import type { LogMel } from './log-mel';

/** Options of {@link specAugment}. The defaults are those of LibriSpeech double (LD) in the paper. */
export interface SpecAugmentOptions {
  /** Number of frequency masks, m_F. */
  frequencyMasks?: number;
  /** Widest frequency mask in mel bins, F. */
  frequencyWidth?: number;
  /** Number of time masks, m_T. */
  timeMasks?: number;
  /** Widest time mask in frames, T. */
  timeWidth?: number;
  /** Widest time mask as a part of the clip, p. */
  timeFraction?: number;
  /** What a mask is filled with: the mean of the clip, or the value of silence. */
  fill?: 'mean' | 'floor';
}

/**
 * SpecAugment without time warping (Park et al. 2019, "SpecAugment: A Simple Data Augmentation
 * Method for Automatic Speech Recognition"): masks random bands of frequency and stretches of time
 * among the frames that count. The features given stay as they are.
 *
 * @param mel log-mel features of a clip
 * @param random seeded numbers in [0, 1)
 */
export function specAugment(mel: LogMel, random: Random, options: SpecAugmentOptions = {}): LogMel {
  const { frequencyMasks = 2, frequencyWidth = 27, timeMasks = 2, timeWidth = 100 } = options;
  const { timeFraction = 1, fill = 'mean' } = options;
  const { nMels, frames, computedFrames } = mel;
  const data = mel.data.slice();
  const value = fill === 'mean' ? mean(mel) : mel.floor;
  for (let i = 0; i < frequencyMasks; i++) {
    const [start, end] = mask(nMels, frequencyWidth, random);
    for (let bin = start; bin < end; bin++) {
      data.fill(value, bin * computedFrames, bin * computedFrames + frames);
    }
  }
  const widest = Math.min(timeWidth, Math.floor(timeFraction * frames));
  for (let i = 0; i < timeMasks; i++) {
    const [start, end] = mask(frames, widest, random);
    for (let bin = 0; bin < nMels; bin++) {
      data.fill(value, bin * computedFrames + start, bin * computedFrames + end);
    }
  }
  return { ...mel, data };
}

/** A stretch of 0 to `widest` of `length` places, evenly drawn. */
function mask(length: number, widest: number, random: Random): [start: number, end: number] {
  const width = Math.min(length, Math.floor(random() * (widest + 1)));
  const start = Math.floor(random() * (length - width + 1));
  return [start, start + width];
}

function mean({ data, nMels, frames, computedFrames }: LogMel): number {
  let sum = 0;
  for (let bin = 0; bin < nMels; bin++) {
    for (let frame = 0; frame < frames; frame++) sum += data[bin * computedFrames + frame]!;
  }
  return sum / (nMels * frames);
}
