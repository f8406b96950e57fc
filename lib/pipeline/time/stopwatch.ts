/** Processor time, and a limit to it. */
import type { Pace } from './pace';

/** Seconds of the processors that this process has taken so far, all threads together. */
export function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Seconds of the processors from which on a time is held against the machine's pace. */
const long = 0.02;

/** Seconds by the clock for which a machine's pace is taken to hold. */
const holds = 0.1;

/** What a calibration may take of the processors. What is under way cannot be stopped. */
export class Budget {
  readonly #from: number = processorSeconds();
  readonly #paces: number[] = [];
  #lastPace = -Infinity;
  /** Of all that was timed, the best seconds by the clock for a second of the processors. */
  wallPerProcessor: number = 1;

  /** @param pace of the machine; where it is given, times are those of the machine's usual pace */
  constructor(
    readonly seconds: number,
    readonly pace?: Pace,
  ) {}

  get used(): number {
    return processorSeconds() - this.#from;
  }
  get left(): number {
    return this.seconds - this.used;
  }

  /** Seconds of the processors that something takes. */
  async time(body: () => unknown): Promise<number> {
    const before = this.#paceNow();
    const [processor, wall] = [processorSeconds(), performance.now()];
    await body();
    const seconds = this.#note(processorSeconds() - processor, (performance.now() - wall) / 1000);
    if (seconds < long || before === undefined) return seconds;
    const now = (before + this.#paceNow()!) / 2;
    return (seconds * median(this.#paces)) / now;
  }

  #paceNow(): number | undefined {
    if (this.pace === undefined) return undefined;
    if (performance.now() / 1000 - this.#lastPace > holds || this.#paces.length === 0) {
      this.#paces.push(this.pace.now());
      this.#lastPace = performance.now() / 1000;
    }
    return this.#paces.at(-1);
  }

  #note(processor: number, wall: number): number {
    // What is short says little: the clock of the processors is coarse.
    if (processor > 0.05) {
      this.wallPerProcessor = Math.min(this.wallPerProcessor, wall / processor);
    }
    return processor;
  }
}

/** Seconds for so much work, a straight line. */
export interface Line {
  fixed: number;
  each: number;
}

/** How long some work took. */
export interface Point {
  work: number;
  seconds: number;
}

export function secondsFor({ fixed, each }: Line, work: number): number {
  return fixed + each * work;
}

/**
 * How much work to time next: as much as is affordable by what was timed so far, all of it if
 * possible; undefined where it would say little more than the last. A second point is always had: what
 * any work costs, multiplied with the work, doubled the time of stages.
 */
export function nextWork(
  points: readonly Point[],
  full: number,
  seconds: number,
): number | undefined {
  const { work, seconds: last } = points.at(-1)!;
  if (work >= 0.99 * full) return undefined;
  // Twice each, since kernels are compiled for each shape when it comes first. A first point is
  // mostly what any work costs.
  const { fixed, each } =
    points.length > 1 ? lineThrough(points) : { fixed: last / 2, each: last / 2 / work };
  const affordable = (seconds / 2.2 - fixed) / each;
  const least = points.length > 1 ? 1.5 * work : Math.min(full, 2 * work);
  if (affordable < least && points.length > 1) return undefined;
  const next = Math.max(least, Math.min(full, affordable));
  // The second point is on the way to the third.
  return points.length > 1 ? next : Math.min(next, 8 * work);
}

/** The line through two points, or through one and nothing where they say no more. */
export function lineThrough(points: readonly Point[]): Line {
  const last = points.at(-1)!;
  const before = points.at(-2);
  const each =
    before === undefined || last.work <= before.work
      ? 0
      : (last.seconds - before.seconds) / (last.work - before.work);
  // Noise must not make more work cheaper.
  if (!(each > 0)) return { fixed: 0, each: last.seconds / last.work };
  const fixed = last.seconds - each * last.work;
  return fixed >= 0 ? { fixed, each } : { fixed: 0, each: last.seconds / last.work };
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = sorted.length / 2;
  return (sorted[Math.floor(at)]! + sorted[Math.ceil(at) - 1]!) / 2;
}
