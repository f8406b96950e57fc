/** What the process that follows a recipe and the one that kills it tell each other. */
import type { Progress } from '../context';

/** A moment of a run that can be told again: a stage by its number, and what happens in it. */
export interface RunEvent {
  stage: number;
  /** A write (`write part teacher/…`), or how far work is (`teacher 3/6`). */
  key: string;
  /** Milliseconds. */
  time: number;
}

export interface ToChild {
  file: string;
  set: readonly string[];
  output: string;
  /** Where to die: at the very moment, or at any until the next event. */
  kill?: { stage: number; key: string; atOnce: boolean };
}

export type FromChild =
  | { event: RunEvent }
  | { progress: Progress }
  | { stage: { name: string; reused: boolean } }
  | { warning: string }
  /** The point at which to be killed, by itself or by who started it. */
  | { reached: 'atOnce' | 'soon' }
  | { done: true }
  | { error: string };
