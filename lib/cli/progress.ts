/**
 * How far long work is, on standard error: a bar with the time left on a terminal, elsewhere a line
 * at every quarter, and in between where a minute went by without one (in long work a tenth of its
 * time so far, so that a log of days stays short). Nothing stays of work that took less than two
 * seconds.
 */
import { SingleBar } from 'cli-progress';
import type { Output } from './context';

/** What long work calls: its name, what is done, of how much, and perhaps a word on it. */
export type OnProgress = (label: string, done: number, total: number, note?: string) => void;

const quiet = 2000;
const silence = 60_000;

interface Task {
  label: string;
  /** When it began, and with how much done already. */
  started: number;
  first: number;
  done: number;
  total: number;
  /** Quarters that have been told, and when the last line was. */
  quarter: number;
  told: number;
  note?: string;
  bar?: SingleBar;
}

export class Progress {
  #task: Task | undefined;

  constructor(
    readonly stream: Output,
    /** Milliseconds; tests bring a clock of their own. */
    readonly now: () => number = () => performance.now(),
  ) {}

  /** Feeds the bar; another label ends the bar before and begins a new one. */
  readonly update: OnProgress = (label, done, total, note) => {
    if (this.#task !== undefined && this.#task.label !== label) this.stop();
    this.#task ??= this.#begin(label, done, total);
    const task = this.#task;
    Object.assign(task, { done, total, note });
    task.bar?.setTotal(total);
    task.bar?.update(done);
    if (done >= total) this.stop();
    else if (task.bar === undefined) this.#tell(task);
  };

  /** {@link update} with the label given. */
  labelled(label: string): (done: number, total: number) => void {
    return (done, total) => this.update(label, done, total);
  }

  /** Lets something be printed: a bar is taken away before and drawn again below. */
  around(print: () => void): void {
    const task = this.#task;
    task?.bar?.stop();
    print();
    task?.bar?.start(task.total, task.done);
  }

  /** A line that is not about progress: of something damaged that is made again. */
  readonly warn = (message: string): void =>
    this.around(() => this.stream.write(`pare: ${message}\n`));

  /** Ends the bar, whatever is done. */
  stop(): void {
    const task = this.#task;
    this.#task = undefined;
    task?.bar?.stop();
    if (task === undefined || this.now() - task.started < quiet) return;
    const spent = duration((this.now() - task.started) / 1000);
    this.stream.write(`${task.label}: ${task.done}/${task.total}, ${spent}\n`);
  }

  #begin(label: string, done: number, total: number): Task {
    const started = this.now();
    const task: Task = { label, started, first: done, done, total, quarter: 0, told: started };
    if (!this.stream.isTTY) return task;
    task.bar = new SingleBar({
      stream: this.stream as NodeJS.WritableStream,
      format: () => this.#bar(task),
      clearOnComplete: true,
      // Neither hides the cursor nor changes line wrapping: an interruption would leave it so.
      hideCursor: false,
      linewrap: true,
    });
    task.bar.start(total, done);
    return task;
  }

  #bar(task: Task): string {
    const { label, done, total } = task;
    const share = total > 0 ? Math.min(1, done / total) : 1;
    const width = 24;
    const full = Math.round(share * width);
    const bar = '█'.repeat(full) + '░'.repeat(width - full);
    return `${label} ${bar} ${Math.floor(100 * share)} % ${done}/${total}${this.#left(task)}`;
  }

  #tell(task: Task): void {
    const now = this.now();
    const spent = now - task.started;
    const quarter = Math.floor((4 * task.done) / task.total);
    const due = now - task.told >= Math.max(silence, spent / 10);
    if (spent < quiet || (quarter <= task.quarter && !due)) return;
    Object.assign(task, { quarter: Math.max(quarter, task.quarter), told: now });
    const { label, done, total } = task;
    const percent = Math.floor((100 * done) / total);
    this.stream.write(`${label}: ${done}/${total} (${percent} %)${this.#left(task)}\n`);
  }

  #left({ started, first, done, total, note }: Task): string {
    const word = note === undefined ? '' : `, ${note}`;
    if (done <= first) return word;
    const each = (this.now() - started) / 1000 / (done - first);
    return `, ${duration(each * (total - done))} left${word}`;
  }
}

/** Seconds for people: `8 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
