/**
 * A second-order Butterworth low-pass or high-pass, the biquads of Robert Bristow-Johnson's "Audio
 * EQ Cookbook" with Q = 1 / sqrt(2).
 *
 * @param samples mono
 * @param kind what passes: below or above `hertz`
 * @param hertz corner frequency (-3 dB), between 0 and half of `rate`
 * @param rate sampling rate in Hz
 */
export function biquad(
  samples: Float32Array,
  kind: 'lowPass' | 'highPass',
  hertz: number,
  rate: number,
): Float32Array {
  if (!(hertz > 0 && hertz < rate / 2)) {
    throw new RangeError(`a corner of ${hertz} Hz does not lie between 0 and ${rate / 2} Hz`);
  }
  const omega = (2 * Math.PI * hertz) / rate;
  const cosine = Math.cos(omega);
  const alpha = Math.sin(omega) * Math.SQRT1_2;
  const a0 = 1 + alpha;
  const a1 = (-2 * cosine) / a0;
  const a2 = (1 - alpha) / a0;
  const sign = kind === 'lowPass' ? 1 : -1;
  const b0 = (1 - sign * cosine) / 2 / a0;
  const b1 = 2 * sign * b0;
  const output = new Float32Array(samples.length);
  let [x1, x2, y1, y2] = [0, 0, 0, 0];
  for (let i = 0; i < samples.length; i++) {
    const x = samples[i]!;
    const y = b0 * (x + x2) + b1 * x1 - a1 * y1 - a2 * y2;
    output[i] = y;
    x2 = x1;
    x1 = x;
    y2 = y1;
    y1 = y;
  }
  return output;
}
