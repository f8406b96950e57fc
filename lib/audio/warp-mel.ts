import type { Random } from './augment';
import type { LogMel } from './log-mel';

/** Options of {@link warpMel}: the largest relative change, 0.1 for ±10 %; 0 leaves it out. */
export interface WarpOptions {
  /** Of the duration. */
  timeStretch?: number;
  /** Of the frequency axis in mel, as vocal tracts of another length have it. */
  frequencyWarp?: number;
  /** Frames at most, those behind the audio included: the encoder's window. */
  maxFrames?: number;
}

/**
 * Another speed and another throat for features that are computed already: stretches time and
 * warps frequency (vocal tract length perturbation, Jaitly & Hinton 2013) by linear interpolation.
 * The features given stay as they are.
 *
 * @param mel log-mel features of a clip
 * @param random seeded numbers in [0, 1)
 */
export function warpMel(mel: LogMel, random: Random, options: WarpOptions = {}): LogMel {
  const { timeStretch = 0, frequencyWarp = 0, maxFrames = Infinity } = options;
  const { nMels, computedFrames: before } = mel;
  const tail = before - mel.frames;
  const wanted = Math.round(mel.frames * (1 + (2 * random() - 1) * timeStretch));
  const frames = Math.max(4, Math.min(wanted, maxFrames - tail));
  const computedFrames = frames + tail;
  const bend = 1 + (2 * random() - 1) * frequencyWarp;
  const data = new Float32Array(nMels * computedFrames);
  const times = interpolation(computedFrames, before, before / computedFrames);
  const bins = interpolation(nMels, nMels, bend);
  for (let bin = 0; bin < nMels; bin++) {
    const low = bins.at[bin]! * before;
    const high = Math.min(nMels - 1, bins.at[bin]! + 1) * before;
    const up = bins.share[bin]!;
    for (let t = 0; t < computedFrames; t++) {
      const left = times.at[t]!;
      const right = Math.min(before - 1, left + 1);
      const late = times.share[t]!;
      const here = mel.data[low + left]! * (1 - late) + mel.data[low + right]! * late;
      const above = mel.data[high + left]! * (1 - late) + mel.data[high + right]! * late;
      data[bin * computedFrames + t] = here * (1 - up) + above * up;
    }
  }
  return { ...mel, data, frames, computedFrames };
}

/** For each of `count` places the place before it among `length`, and the share of the next. */
function interpolation(
  count: number,
  length: number,
  step: number,
): { at: Int32Array; share: Float32Array } {
  const at = new Int32Array(count);
  const share = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const place = Math.min(i * step, length - 1);
    at[i] = Math.floor(place);
    share[i] = place - at[i]!;
  }
  return { at, share };
}
