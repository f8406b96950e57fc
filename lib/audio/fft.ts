/**
 * The power spectrum of a real signal of fixed even length, whose half is a product of 2, 4 and 5
 * (400 in Whisper's front end). The real transform of length n is done as a complex one of n / 2
 * (even samples real, odd samples imaginary), itself a Stockham mixed-radix FFT, which needs no
 * reordering. float64 inside; all buffers are made once.
 */
export class RealFft {
  /** Length of the signal. */
  readonly size: number;
  private readonly half: number;
  private readonly stages: Stage[] = [];
  /** cos and sin of 2 pi k / size, k = 0 … size / 2, which join the two halves. */
  private readonly joinCos: Float64Array;
  private readonly joinSin: Float64Array;
  private source: Complex;
  private target: Complex;

  constructor(size: number) {
    this.size = size;
    this.half = size / 2;
    let rest = this.half;
    for (const radix of [5, 4, 2] as const) {
      while (rest % radix === 0) {
        this.stages.push(new Stage(radix, rest));
        rest /= radix;
      }
    }
    if (rest !== 1) throw new RangeError(`no FFT of length ${size}: half of it needs factors 2, 5`);
    this.joinCos = Float64Array.from({ length: this.half + 1 }, (_, k) =>
      Math.cos((2 * Math.PI * k) / size),
    );
    this.joinSin = Float64Array.from({ length: this.half + 1 }, (_, k) =>
      Math.sin((2 * Math.PI * k) / size),
    );
    this.source = new Complex(this.half);
    this.target = new Complex(this.half);
  }

  /**
   * @param signal `size` real samples
   * @param power receives |X[k]|², k = 0 … size / 2
   */
  power(signal: Float64Array, power: Float64Array): void {
    const { half, joinCos, joinSin } = this;
    for (let n = 0; n < half; n++) {
      this.source.re[n] = signal[2 * n]!;
      this.source.im[n] = signal[2 * n + 1]!;
    }
    let stride = 1;
    for (const stage of this.stages) {
      stage.apply(this.source, this.target, stride);
      stride *= stage.radix;
      [this.source, this.target] = [this.target, this.source];
    }
    const { re, im } = this.source;
    for (let k = 0; k <= half; k++) {
      const a = k === half ? 0 : k;
      const b = k === 0 ? 0 : half - k;
      const evenRe = (re[a]! + re[b]!) / 2;
      const evenIm = (im[a]! - im[b]!) / 2;
      const oddRe = (im[a]! + im[b]!) / 2;
      const oddIm = (re[b]! - re[a]!) / 2;
      const xRe = evenRe + joinCos[k]! * oddRe + joinSin[k]! * oddIm;
      const xIm = evenIm + joinCos[k]! * oddIm - joinSin[k]! * oddRe;
      power[k] = xRe * xRe + xIm * xIm;
    }
  }
}

class Complex {
  readonly re: Float64Array;
  readonly im: Float64Array;
  constructor(size: number) {
    this.re = new Float64Array(size);
    this.im = new Float64Array(size);
  }
}

const cos1 = Math.cos((2 * Math.PI) / 5);
const cos2 = Math.cos((4 * Math.PI) / 5);
const sin1 = Math.sin((2 * Math.PI) / 5);
const sin2 = Math.sin((4 * Math.PI) / 5);

/** One pass of the Stockham FFT (decimation in frequency) over groups of `radix` values. */
class Stage {
  readonly radix: 2 | 4 | 5;
  private readonly groups: number;
  /** exp(-2 pi i p j / length) at [p * radix + j]. */
  private readonly twiddleRe: Float64Array;
  private readonly twiddleIm: Float64Array;

  constructor(radix: 2 | 4 | 5, length: number) {
    this.radix = radix;
    this.groups = length / radix;
    this.twiddleRe = new Float64Array(length);
    this.twiddleIm = new Float64Array(length);
    for (let p = 0; p < this.groups; p++) {
      for (let j = 0; j < radix; j++) {
        const angle = (-2 * Math.PI * p * j) / length;
        this.twiddleRe[p * radix + j] = Math.cos(angle);
        this.twiddleIm[p * radix + j] = Math.sin(angle);
      }
    }
  }

  apply(from: Complex, to: Complex, stride: number): void {
    const { radix, groups } = this;
    const step = stride * groups;
    for (let p = 0; p < groups; p++) {
      for (let q = 0; q < stride; q++) {
        const read = q + stride * p;
        const write = q + stride * radix * p;
        if (radix === 5) this.butterfly5(from, to, read, step, write, stride, p * 5);
        else if (radix === 4) this.butterfly4(from, to, read, step, write, stride, p * 4);
        else this.butterfly2(from, to, read, step, write, stride, p * 2);
      }
    }
  }

  private put(to: Complex, at: number, twiddle: number, re: number, im: number): void {
    const c = this.twiddleRe[twiddle]!;
    const s = this.twiddleIm[twiddle]!;
    to.re[at] = re * c - im * s;
    to.im[at] = re * s + im * c;
  }

  private butterfly2(
    { re, im }: Complex,
    to: Complex,
    read: number,
    step: number,
    write: number,
    stride: number,
    twiddle: number,
  ): void {
    const other = read + step;
    to.re[write] = re[read]! + re[other]!;
    to.im[write] = im[read]! + im[other]!;
    this.put(to, write + stride, twiddle + 1, re[read]! - re[other]!, im[read]! - im[other]!);
  }

  private butterfly4(
    { re, im }: Complex,
    to: Complex,
    read: number,
    step: number,
    write: number,
    stride: number,
    twiddle: number,
  ): void {
    const [i1, i2, i3] = [read + step, read + 2 * step, read + 3 * step];
    const sumRe = re[read]! + re[i2]!;
    const sumIm = im[read]! + im[i2]!;
    const differenceRe = re[read]! - re[i2]!;
    const differenceIm = im[read]! - im[i2]!;
    const oddRe = re[i1]! + re[i3]!;
    const oddIm = im[i1]! + im[i3]!;
    // -i (x1 - x3)
    const turnedRe = im[i1]! - im[i3]!;
    const turnedIm = re[i3]! - re[i1]!;
    to.re[write] = sumRe + oddRe;
    to.im[write] = sumIm + oddIm;
    this.put(to, write + stride, twiddle + 1, differenceRe + turnedRe, differenceIm + turnedIm);
    this.put(to, write + 2 * stride, twiddle + 2, sumRe - oddRe, sumIm - oddIm);
    this.put(to, write + 3 * stride, twiddle + 3, differenceRe - turnedRe, differenceIm - turnedIm);
  }

  private butterfly5(
    { re, im }: Complex,
    to: Complex,
    read: number,
    step: number,
    write: number,
    stride: number,
    twiddle: number,
  ): void {
    const [i1, i2, i3, i4] = [read + step, read + 2 * step, read + 3 * step, read + 4 * step];
    const aRe = re[i1]! + re[i4]!;
    const aIm = im[i1]! + im[i4]!;
    const bRe = re[i2]! + re[i3]!;
    const bIm = im[i2]! + im[i3]!;
    const cRe = re[i1]! - re[i4]!;
    const cIm = im[i1]! - im[i4]!;
    const dRe = re[i2]! - re[i3]!;
    const dIm = im[i2]! - im[i3]!;
    const x0 = re[read]!;
    const y0 = im[read]!;
    to.re[write] = x0 + aRe + bRe;
    to.im[write] = y0 + aIm + bIm;
    const eRe = x0 + cos1 * aRe + cos2 * bRe;
    const eIm = y0 + cos1 * aIm + cos2 * bIm;
    const fRe = x0 + cos2 * aRe + cos1 * bRe;
    const fIm = y0 + cos2 * aIm + cos1 * bIm;
    // -i times the odd parts
    const gRe = sin1 * cIm + sin2 * dIm;
    const gIm = -(sin1 * cRe + sin2 * dRe);
    const hRe = sin2 * cIm - sin1 * dIm;
    const hIm = -(sin2 * cRe - sin1 * dRe);
    this.put(to, write + stride, twiddle + 1, eRe + gRe, eIm + gIm);
    this.put(to, write + 2 * stride, twiddle + 2, fRe + hRe, fIm + hIm);
    this.put(to, write + 3 * stride, twiddle + 3, fRe - hRe, fIm - hIm);
    this.put(to, write + 4 * stride, twiddle + 4, eRe - gRe, eIm - gIm);
  }
}
