/** Cutting a recording of any length at its pauses. */
import { AudioError } from './error';
import { frameLevel, frameSamples, Loudness } from './levels';
import { concatenate } from './resample';

/** Where a recording is cut, in seconds. */
export interface SegmentOptions {
  /** Seconds of a segment at most; 30 by default. */
  maxSeconds?: number;
  /**
   * Seconds that a segment should have before it ends at a pause; a sixth of `maxSeconds` by
   * default, 5 s of 30.
   */
  minSeconds?: number;
  /** A pause of so many seconds ends a segment of `minSeconds`; 0.5 by default. */
  pauseSeconds?: number;
  /** Seconds, about, that two segments share where there is no pause, so that no word is only cut; a
   * sixth of `maxSeconds` by default, but 1 s at most. */
  overlapSeconds?: number;
}

/** A piece of a recording. Times are in samples of 16 kHz from the recording's beginning. */
export interface AudioSegment {
  start: number;
  end: number;
  /** Nobody speaks. */
  silent: boolean;
  /** At most `maxSeconds`; empty for a silent segment, which may be as long as it likes. */
  samples: Float32Array;
  /** Samples at its beginning that are in the segment before, too: it was cut where there is no pause. */
  overlap: number;
}

const rate = 16000;
/** All below in frames. */
const perSecond = rate / frameSamples;
/** What is kept of silence before and after speech. */
const pad = 0.1 * perSecond;
/** The shortest pause to cut at if a segment must end. */
const shortPause = 0.1 * perSecond;
/** A pause so many times as long as `pauseSeconds` ends a segment however short. */
const longPauses = 3;
/** What is shorter, with silence around it, is a click. */
const click = 0.05 * perSecond;
/** What is shorter, of silence between two segments, is a part of them. */
const shortestSilence = 0.2 * perSecond;
/** What must be heard to know how loud speech is, before the first decision. */
const lookahead = 5 * perSecond;
/** Decisions are made so often; independent of how the samples come. */
const interval = 0.5 * perSecond;

/**
 * Cuts mono audio of 16 kHz into segments for a model. What is soft compared with the noise floor and
 * the loudest of the last minutes is a pause. A segment ends at a pause of `pauseSeconds` if it has
 * `minSeconds`; at the longest pause of 0.1 s or more if none comes before `maxSeconds`; and where
 * there is none, at its softest moments, such that it shares `overlapSeconds`, about, with the next.
 * Pauses of some length are segments of their own, marked silent. Every sample is in one segment or,
 * in an overlap, in two; what comes of a recording does not depend on how it is pushed.
 */
export class Segmenter {
  readonly #max: number;
  readonly #min: number;
  readonly #pause: number;
  readonly #overlap: number;
  readonly #loudness = new Loudness();
  #pushed = 0;
  /** Audio from the frame `#start` on, in parts of `interval`, and the levels of its frames. */
  #parts: Float32Array[] = [];
  #levels: number[] = [];
  /** Frame where the next segment begins. */
  #start = 0;
  /** Frames at the beginning of the next segment that the last has, too. */
  #shared = 0;
  /** Silence that may go on. */
  #silence: AudioSegment | undefined;
  /** Samples that are no whole part yet. */
  #rest: Float32Array = new Float32Array(0);

  /** @throws AudioError if an option makes no sense */
  constructor(options: SegmentOptions = {}) {
    const { maxSeconds = 30, pauseSeconds = 0.5 } = options;
    const { minSeconds = maxSeconds / 6, overlapSeconds = Math.min(1, maxSeconds / 6) } = options;
    if (!(maxSeconds >= 1 && maxSeconds < Infinity)) {
      throw new AudioError(`segments of ${maxSeconds} s at most; give 1 s or more`);
    }
    if (!(minSeconds >= 0 && minSeconds <= maxSeconds / 2)) {
      throw new AudioError(
        `segments of ${minSeconds} s at least and ${maxSeconds} s at most; give a minimum of up to half of the maximum`,
      );
    }
    if (!(pauseSeconds >= 0.1 && pauseSeconds < Infinity)) {
      throw new AudioError(`pauses of ${pauseSeconds} s; give 0.1 s or more`);
    }
    if (!(overlapSeconds >= 0 && overlapSeconds <= maxSeconds / 4)) {
      throw new AudioError(
        `segments of ${maxSeconds} s that share ${overlapSeconds} s; give up to a quarter`,
      );
    }
    this.#max = Math.floor(maxSeconds * perSecond);
    this.#min = minSeconds * perSecond;
    this.#pause = pauseSeconds * perSecond;
    this.#overlap = overlapSeconds * perSecond;
  }

  /** Takes the next samples; gives the segments that are certain now. */
  push(samples: Float32Array): AudioSegment[] {
    const step = interval * frameSamples;
    const segments: AudioSegment[] = [];
    const whole = concatenate([this.#rest, samples]);
    let at = 0;
    // Decisions fall at the same frames whatever is pushed.
    for (; at + step <= whole.length; at += step) {
      this.#hear(whole.slice(at, at + step));
      for (let next; (next = this.#next(false)) !== undefined;) segments.push(...next);
    }
    this.#rest = whole.slice(at);
    return segments;
  }

  /** The rest. */
  end(): AudioSegment[] {
    const segments: AudioSegment[] = [];
    this.#hear(this.#rest);
    while (this.#levels.length > 0) segments.push(...this.#next(true)!);
    if (this.#silence) segments.push(this.#silence);
    return segments;
  }

  #hear(samples: Float32Array): void {
    this.#pushed += samples.length;
    this.#parts.push(samples);
    for (let at = 0; at < samples.length; at += frameSamples) {
      const level = frameLevel(samples.subarray(at, at + frameSamples));
      this.#levels.push(level);
      this.#loudness.add(level);
    }
  }

  /** The segment at `#start`; undefined if more must be heard first, which is never the `last`. */
  #next(isLast: boolean): AudioSegment[] | undefined {
    const heard = this.#levels.length;
    if (!isLast && heard < lookahead) return undefined;
    const { pause, silence } = this.#loudness.thresholds();
    const heardAt = this.#levels.map((level) => level >= silence);
    const audible = withoutClicks(heardAt, isLast);
    const first = audible.indexOf(true);
    // Silence need not be heard twice.
    const twice = Math.min(this.#shared, first < 0 ? heard : Math.max(0, first - pad));
    if (twice > 0) {
      this.#drop(twice);
      this.#shared -= twice;
      return [];
    }
    if (first < 0) return this.#take(isLast ? heard : heard - pad, true);
    if (first - pad >= shortestSilence) return this.#take(first - pad, true);
    const cut = this.#cut(
      this.#levels.map((level) => level >= pause),
      audible,
      isLast,
    );
    return cut && this.#take(cut.end, false, cut.next);
  }

  /**
   * Where the segment that begins at `#start` with speech ends, and the next begins, in frames from
   * there.
   * @param active frames that are no pause
   * @param audible frames that are no silence
   */
  #cut(
    active: readonly boolean[],
    audible: readonly boolean[],
    isLast: boolean,
  ): { end: number; next: number } | undefined {
    const heard = active.length;
    const first = active.indexOf(true);
    const pauses = runs(active, false)
      .filter(({ from, to }) => from > first && first >= 0 && to - from >= shortPause)
      .map((pause) => this.#place(pause, audible))
      .filter(({ end }) => end <= this.#max);
    const good = pauses.find(({ from, to, end, quietTo }) => {
      // Behind the last word goes silence alone, no breath that would be a segment of its own.
      if (isLast && to === heard) return quietTo === heard && heard - end >= shortestSilence;
      const length = to - from;
      return length >= longPauses * this.#pause || (length >= this.#pause && end >= this.#min);
    });
    if (good) return { end: good.end, next: good.end };
    if (heard <= this.#max) return isLast ? { end: heard, next: heard } : undefined;
    // It must end now. Better not too early.
    const late = pauses.filter(({ end }) => end >= this.#max / 2);
    const possible = late.length > 0 ? late : pauses.filter(({ end }) => end >= this.#min);
    if (possible.length > 0) {
      const { end } = longest(possible)!;
      return { end, next: end };
    }
    const share = this.#overlap;
    return {
      end: this.#softest(Math.ceil(this.#max - 0.25 * share), this.#max),
      next: this.#softest(Math.ceil(this.#max - 1.25 * share), Math.ceil(this.#max - 0.75 * share)),
    };
  }

  /**
   * Where to cut in a pause: shortly behind what is heard before, if the silence is long enough to
   * stand for itself; else shortly before what is heard next. In the middle, if it is not silent.
   */
  #place({ from, to }: Run, audible: readonly boolean[]): Run & { end: number; quietTo: number } {
    const silences = runs(audible.slice(from, to), false);
    const quiet = longest(silences) ?? { from: 0, to: 0 };
    const [quietFrom, quietTo] = [from + quiet.from, from + quiet.to];
    let end = from + Math.floor((to - from) / 2);
    if (quietTo - quietFrom >= 2 * pad) {
      const isLong = quietTo - quietFrom >= 2 * pad + shortestSilence;
      end = isLong ? quietFrom + pad : quietTo - pad;
    }
    return { from, to, end, quietTo };
  }

  /** The softest frame from `from` to `to`, both included. */
  #softest(from: number, to: number): number {
    let softest = to;
    for (let i = to; i >= from; i--) if (this.#levels[i]! < this.#levels[softest]!) softest = i;
    return softest;
  }

  /** Cuts off what is before `end`, and goes on at `next`. Frames from `#start`. */
  #take(end: number, silent: boolean, next: number = end): AudioSegment[] {
    const audio = concatenate(this.#parts);
    const start = this.#start * frameSamples;
    const segment: AudioSegment = {
      start,
      end: Math.min(start + end * frameSamples, this.#pushed),
      silent,
      samples: silent ? new Float32Array(0) : audio.slice(0, end * frameSamples),
      overlap: this.#shared * frameSamples,
    };
    this.#drop(next);
    this.#shared = end - next;
    if (silent) {
      this.#silence ??= segment;
      this.#silence.end = segment.end;
      return [];
    }
    const before = this.#silence;
    this.#silence = undefined;
    return before ? [before, segment] : [segment];
  }

  #drop(frames: number): void {
    this.#parts = [concatenate(this.#parts).slice(frames * frameSamples)];
    this.#levels = this.#levels.slice(frames);
    this.#start += frames;
  }
}

/** Frames from `from` to before `to`. */
interface Run {
  from: number;
  to: number;
}

function runs(flags: readonly boolean[], value: boolean): Run[] {
  const found: Run[] = [];
  for (let i = 0; i < flags.length; i++) {
    if (flags[i] !== value) continue;
    if (i > 0 && flags[i - 1] === value) found.at(-1)!.to = i + 1;
    else found.push({ from: i, to: i + 1 });
  }
  return found;
}

/** The last of the longest. */
function longest<Any extends Run>(all: readonly Any[]): Any | undefined {
  return all.reduce<Any | undefined>(
    (best, run) => (best && best.to - best.from > run.to - run.from ? best : run),
    undefined,
  );
}

/** Takes short sounds with silence around them for silence; at the end, only if nothing follows. */
function withoutClicks(audible: readonly boolean[], isLast: boolean): boolean[] {
  const result = [...audible];
  for (const { from, to } of runs(audible, true)) {
    const around = [
      ...audible.slice(Math.max(0, from - shortPause), from),
      ...audible.slice(to, to + shortPause),
    ];
    const isKnown = isLast || to + shortPause <= audible.length;
    if (isKnown && to - from < click && !around.includes(true)) result.fill(false, from, to);
  }
  return result;
}
