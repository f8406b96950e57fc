/** How loud each hundredth of a second is, and what is speech by that. */

/** Samples of a frame: 10 ms at 16 kHz. */
export const frameSamples = 160;
/** Decibels of full scale below which nothing is heard, whatever else there is. */
const silence = -65;
/** Levels of the histogram: -95 dB and below are digital silence, which no noise floor is. */
const [lowest, levels] = [-95, 96];
/** Frames after which what was heard counts half: a minute. */
const halfLife = 6000;
/** Steady sound that is as soft as this is noise. */
const softNoise = -40;

/**
 * Level of a frame in dB of full scale, an offset taken away (the variance, not the mean square).
 * @param samples a frame, the last perhaps shorter
 */
export function frameLevel(samples: Float32Array): number {
  let sum = 0;
  let squares = 0;
  for (const sample of samples) {
    sum += sample;
    squares += sample * sample;
  }
  const variance = squares / samples.length - (sum / samples.length) ** 2;
  return 10 * Math.log10(Math.max(variance, 1e-12));
}

/**
 * The noise floor and the level of speech, learnt from the levels of the last minutes: the floor is
 * what three frames in a hundred (digital silence apart) do not exceed, since people pause rarely;
 * speech is as loud as the loudest twentieth of what stands out of it.
 */
export class Loudness {
  readonly #histogram = new Float64Array(levels);
  #weight = 1;

  /** Hears a frame's level in dB. */
  add(level: number): void {
    const bin = Math.min(levels - 1, Math.floor(level - lowest));
    if (bin < 0) return;
    // Instead of all that was heard becoming less, what is new becomes more.
    this.#histogram[bin]! += this.#weight;
    this.#weight *= 2 ** (1 / halfLife);
    if (this.#weight < 1e100) return;
    for (let i = 0; i < levels; i++) this.#histogram[i]! /= this.#weight;
    this.#weight = 1;
  }

  /**
   * Levels in dB: below `pause` is a place to cut at; below `silence`, which is lower, is nothing
   * that anybody says. Both are careful, the second more so, since silence is not translated.
   */
  thresholds(): { pause: number; silence: number } {
    const floor = this.#percentile(0.03, lowest) ?? lowest;
    const speech = this.#percentile(0.95, floor + 6);
    if (speech === undefined) {
      // Steady: noise if it is soft.
      const level = Math.max(silence, floor < softNoise ? floor + 6 : floor - 30);
      return { silence: level, pause: level };
    }
    // Noise is steady; where the softest differ, they may be words.
    const isSteady = floor - (this.#percentile(0.01, lowest) ?? floor) < 2;
    const level = Math.max(silence, Math.min(floor + 6, speech - (isSteady ? 10 : 30)));
    return { silence: level, pause: Math.max(level, floor + 0.3 * (speech - floor)) };
  }

  /** The level that a part of the frames from `from` dB on does not exceed, if there are any. */
  #percentile(part: number, from: number): number | undefined {
    const heard = this.#histogram.subarray(Math.max(0, Math.floor(from - lowest)));
    let left = part * heard.reduce((sum, weight) => sum + weight, 0);
    const bin = heard.findIndex((weight) => (left -= weight) < 0);
    return bin < 0 ? undefined : lowest + levels - heard.length + bin + 0.5;
  }
}
