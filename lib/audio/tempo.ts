/** Samples from one output window to the next, half a window: 20 ms at 16 kHz. */
const hop = 320;
const size = 2 * hop;
/** How far a window may move to fit the one before, in samples: 10 ms. */
const tolerance = 160;

const window = Float64Array.from(
  { length: size },
  (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / size),
);

/**
 * Changes the tempo of speech and keeps its pitch: WSOLA (Verhelst and Roelands 1993). Windows are
 * taken `factor` times as far apart as they are laid down, each moved by up to 10 ms to where it
 * continues the one before best.
 *
 * @param samples mono, at about 16 kHz
 * @param factor above 1 is faster
 * @returns `round(samples.length / factor)` samples
 */
export function stretchTempo(samples: Float32Array, factor: number): Float32Array {
  const length = Math.round(samples.length / factor);
  const sum = new Float64Array(length);
  const weight = new Float64Array(length);
  // Silence around lets every window be read whole.
  const margin = size + tolerance;
  const source = new Float32Array(samples.length + 2 * margin + size);
  source.set(samples, margin);
  const last = source.length - size;
  let previous = -1;
  for (let start = -hop; start < length; start += hop) {
    const ideal = Math.round(start * factor) + margin;
    const at =
      previous < 0
        ? ideal
        : ideal + bestOffset(source, Math.min(previous + hop, last), ideal, last);
    const from = Math.max(0, Math.min(at, last));
    for (let i = Math.max(0, -start); i < size && start + i < length; i++) {
      sum[start + i] = sum[start + i]! + window[i]! * source[from + i]!;
      weight[start + i] = weight[start + i]! + window[i]!;
    }
    previous = from;
  }
  return Float32Array.from(sum, (value, i) => value / weight[i]!);
}

/**
 * Where near `ideal` the signal resembles that at `template` most, by normalised correlation: every
 * fourth offset first, then all around the best.
 */
function bestOffset(
  source: Float32Array,
  template: number,
  ideal: number,
  lastStart: number,
): number {
  let best = 0;
  let highest = -Infinity;
  const tryOffset = (offset: number): void => {
    const at = ideal + offset;
    if (at < 0 || at > lastStart) return;
    let product = 0;
    let energy = 1e-9;
    for (let i = 0; i < size; i += 2) {
      product += source[template + i]! * source[at + i]!;
      energy += source[at + i]! ** 2;
    }
    const score = product / Math.sqrt(energy);
    if (score > highest) [best, highest] = [offset, score];
  };
  for (let offset = -tolerance; offset <= tolerance; offset += 4) tryOffset(offset);
  const coarse = best;
  for (let offset = coarse - 3; offset <= coarse + 3; offset++) tryOffset(offset);
  return best;
}
