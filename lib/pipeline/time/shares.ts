/**
 * The time of a calibration, shared: the more work a trial stands for, the longer it may take, as the square
 * root of it: what is little is not to be guessed.
 */

/** The least part that a trial is given. */
const least = 0.05;

export class Shares<Trial> {
  /** Square roots of their work. */
  readonly #open: Map<Trial, number>;

  /** @param work that each trial stands for, all in the same unit */
  constructor(work: ReadonlyMap<Trial, number>) {
    this.#open = new Map([...work].map(([trial, own]) => [trial, Math.sqrt(own)]));
  }

  /** A trial's part of what is left; what it does not need goes to those that come after it. */
  take(trial: Trial): number {
    const total = [...this.#open.values()].reduce((sum, root) => sum + root, 0);
    const root = this.#open.get(trial) ?? 0;
    this.#open.delete(trial);
    if (this.#open.size === 0) return 1;
    return Math.max(least, root / total);
  }
}
