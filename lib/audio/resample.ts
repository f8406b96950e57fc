import { AudioError } from './error';

/** Zero crossings of the sinc on each side, at the lower of the two rates. */
const zeroCrossings = 64;
/** Kaiser's beta for a stop-band of 96 dB. */
const beta = 0.1102 * (96 - 8.7);
/** Width of the transition band, as a part of the lower Nyquist frequency; it ends there. */
const transition = (96 - 7.95) / 14.36 / zeroCrossings;
/** Ratios of more phases than this are interpolated between phases (error below -100 dB). */
const maximumPhases = 1024;

/** A bank of FIR filters, one row a phase of the output between two input samples. */
interface Polyphase {
  /** Output samples per `down` input samples, and the reverse, without common divisor. */
  up: number;
  down: number;
  phases: number;
  taps: number;
  /** Input samples before the output's position that the filter reaches. */
  reach: number;
  /** [phases + 1, taps]; the last row is for interpolation. */
  bank: Float64Array;
}

/**
 * Band-limited resampling: polyphase FIR with a Kaiser-windowed sinc (as scipy's `resample_poly`
 * and torchaudio's `sinc_interp_kaiser`). Flat to 0.90 of the lower Nyquist frequency; aliases and
 * images 96 dB down. Silence is assumed before and after.
 *
 * @param samples one channel at `from` Hz
 * @returns `ceil(samples.length * to / from)` samples at `to` Hz
 * @throws AudioError for a rate that is no positive integer
 */
export function resample(samples: Float32Array, from: number, to: number): Float32Array {
  const resampler = new Resampler(from, to);
  return concatenate([resampler.push(samples), resampler.end()]);
}

/** {@link resample} of a stream: the same samples, however the input is cut. */
export class Resampler {
  readonly #filter: Polyphase | undefined;
  /** Input that is still needed. With copies of it between zeros the inner loop needs no bounds. */
  #kept: Float32Array;
  /** Where `#kept` begins in the input. */
  #first: number;
  #pushed = 0;
  #made = 0;

  /** @throws AudioError for a rate that is no positive integer */
  constructor(from: number, to: number) {
    for (const rate of [from, to]) {
      if (!Number.isSafeInteger(rate) || rate <= 0) {
        throw new AudioError(
          `cannot resample at a rate of ${rate} Hz; give a whole number above 0`,
        );
      }
    }
    this.#filter = from === to ? undefined : polyphase(from, to);
    const before = this.#filter?.reach ?? 0;
    this.#kept = new Float32Array(before);
    this.#first = -before;
  }

  /** Takes the next samples of the input, gives those of the output that they complete. */
  push(samples: Float32Array): Float32Array {
    if (this.#filter === undefined) return samples.slice();
    const { up, down, taps, reach } = this.#filter;
    this.#pushed += samples.length;
    // The last position whose filter does not reach beyond the input.
    const whole = this.#pushed - taps + reach;
    const ready = whole < 0 ? 0 : Math.ceil(((whole + 1) * up) / down);
    return this.#make(samples, ready);
  }

  /** The rest of the output. */
  end(): Float32Array {
    if (this.#filter === undefined) return new Float32Array(0);
    const { up, down, taps } = this.#filter;
    return this.#make(new Float32Array(taps), Math.ceil((this.#pushed * up) / down));
  }

  /** Appends input and makes output up to the sample `until`. */
  #make(samples: Float32Array, until: number): Float32Array {
    const { up, down, phases, taps, reach, bank } = this.#filter!;
    const input = concatenate([this.#kept, samples]);
    const exact = phases === up;
    const output = new Float32Array(Math.max(0, until - this.#made));
    for (let i = 0; i < output.length; i++) {
      const position = (this.#made + i) * down;
      const whole = Math.floor(position / up);
      const scaled = ((position - whole * up) * phases) / up;
      const phase = exact ? position - whole * up : Math.floor(scaled);
      const start = whole - reach - this.#first;
      let sum = dot(input, start, bank, phase * taps, taps);
      if (!exact) {
        const part = scaled - phase;
        sum += part * (dot(input, start, bank, (phase + 1) * taps, taps) - sum);
      }
      output[i] = sum;
    }
    this.#made += output.length;
    const needed = Math.floor((this.#made * down) / up) - reach;
    const spent = Math.min(input.length, Math.max(0, needed - this.#first));
    this.#kept = input.slice(spent);
    this.#first += spent;
    return output;
  }
}

/** One array of several. */
export function concatenate(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function dot(a: Float32Array, i: number, b: Float64Array, j: number, count: number): number {
  let sum0 = 0;
  let sum1 = 0;
  let k = 0;
  for (; k + 1 < count; k += 2) {
    sum0 += a[i + k]! * b[j + k]!;
    sum1 += a[i + k + 1]! * b[j + k + 1]!;
  }
  if (k < count) sum0 += a[i + k]! * b[j + k]!;
  return sum0 + sum1;
}

/** The last few filters: a corpus has one rate, augmentation a handful. */
const cache = new Map<string, Polyphase>();

function polyphase(from: number, to: number): Polyphase {
  const divisor = greatestCommonDivisor(from, to);
  const [up, down] = [to / divisor, from / divisor];
  const key = `${up}/${down}`;
  let filter = cache.get(key);
  if (!filter) {
    if (cache.size >= 32) cache.delete(cache.keys().next().value!);
    filter = design(up, down);
    cache.set(key, filter);
  }
  return filter;
}

function design(up: number, down: number): Polyphase {
  const phases = Math.min(up, maximumPhases);
  const lower = Math.min(1, up / down);
  const cutoff = lower * (1 - transition / 2);
  const halfWidth = zeroCrossings / lower;
  const reach = Math.ceil(halfWidth) - 1;
  const taps = 2 * Math.ceil(halfWidth);
  const bank = new Float64Array((phases + 1) * taps);
  const scale = besselI0(beta);
  for (let phase = 0; phase <= phases; phase++) {
    const row = bank.subarray(phase * taps, (phase + 1) * taps);
    let sum = 0;
    for (let tap = 0; tap < taps; tap++) {
      const distance = tap - reach - phase / phases;
      const x = distance / halfWidth;
      const window = Math.abs(x) < 1 ? besselI0(beta * Math.sqrt(1 - x * x)) / scale : 0;
      const angle = Math.PI * cutoff * distance;
      row[tap] = window * (angle === 0 ? 1 : Math.sin(angle) / angle);
      sum += row[tap]!;
    }
    // Each phase passes a constant unchanged, so that silence with an offset stays flat.
    for (let tap = 0; tap < taps; tap++) row[tap] = row[tap]! / sum;
  }
  return { up, down, phases, taps, reach, bank };
}

/** Modified Bessel function of the first kind, order 0, by its series. */
function besselI0(x: number): number {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
