/** Maps numbers to pixels. */
export interface Scale {
  (value: number): number;
  readonly low: number;
  readonly high: number;
}

/** A linear scale; a domain of no width is widened, so that nothing divides by zero. */
export function linear(low: number, high: number, from: number, to: number): Scale {
  const [a, b] = low === high ? [low - 0.5, high + 0.5] : [low, high];
  const scale = (value: number): number => from + ((value - a) / (b - a)) * (to - from);
  return Object.assign(scale, { low: a, high: b });
}

/** The step of about `count` round ticks (1, 2 or 5 times a power of ten). */
function tickStep(span: number, count: number): number {
  const raw = span / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const rest = raw / power;
  return power * (rest > 7.07 ? 10 : rest > 3.16 ? 5 : rest > 1.41 ? 2 : 1);
}

/** Round values inside a domain, lowest first. */
export function ticks(low: number, high: number, count: number): number[] {
  if (!(high > low)) return [low];
  const step = tickStep(high - low, count);
  const result: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    result.push(Number((i * step).toPrecision(12)));
  }
  return result;
}

/** The domain widened to the ticks around it. */
export function nice(low: number, high: number, count: number): [number, number] {
  if (!(high > low)) return [low - 0.5, high + 0.5];
  const step = tickStep(high - low, count);
  const round = (value: number): number => Number((value * step).toPrecision(12));
  return [round(Math.floor(low / step + 1e-9)), round(Math.ceil(high / step - 1e-9))];
}
