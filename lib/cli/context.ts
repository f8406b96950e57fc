/** What a command gets from outside: where to write, and how to say that something failed. */
import { PareError } from '../errors';

/** A stream that is perhaps a terminal. */
export interface Output {
  write(text: string): unknown;
  isTTY?: boolean;
}

/** What of the work is told; errors always are. */
export type Verbosity = 'quiet' | 'normal' | 'verbose';

const nowhere: Output = { write: () => true };

export class Context {
  /** 0 unless something failed. */
  exitCode: number = 0;
  verbosity: Verbosity = 'normal';
  /** The command line, without `node` and the program's name. */
  args: readonly string[] = [];
  readonly #stderr: Output;

  constructor(
    readonly stdout: Output,
    stderr: Output,
    readonly env: NodeJS.ProcessEnv = process.env,
    /** Milliseconds; progress is told by it. */
    readonly now: () => number = () => performance.now(),
  ) {
    this.#stderr = stderr;
  }

  /** For notes and progress: leads nowhere where a command is asked to be quiet. */
  get stderr(): Output {
    return this.verbosity === 'quiet' ? nowhere : this.#stderr;
  }

  /** A line of the result. */
  print(line: string): void {
    this.stdout.write(`${line}\n`);
  }

  /** A line about the work, for people. */
  note(line: string): void {
    this.stderr.write(`${line}\n`);
  }

  /** A line about the work for people who look into it. */
  detail(line: string): void {
    if (this.verbosity === 'verbose') this.note(line);
  }

  /** One line on standard error; the stack only where PARE_DEBUG or --verbose asks for it. */
  fail(error: unknown, exitCode: number = 1): void {
    this.#stderr.write(`${this.#red('pare:')} ${describe(error)}\n`);
    const asked = this.env.PARE_DEBUG || this.verbosity === 'verbose';
    if (asked && !isAbort(error) && error instanceof Error) {
      this.#stderr.write(`${stackOf(error)}\n`);
    }
    this.exitCode = exitCode;
  }

  /** Colour on a terminal alone, and not where NO_COLOR (no-color.org) is set. */
  #red(text: string): string {
    const { NO_COLOR, TERM } = this.env;
    const plain = !this.#stderr.isTTY || (NO_COLOR ?? '') !== '' || TERM === 'dumb';
    return plain ? text : `\u001b[31m${text}\u001b[39m`;
  }
}

function describe(error: unknown): string {
  if (isAbort(error)) return 'interrupted';
  const message = error instanceof Error ? error.message : String(error);
  const line = message.replace(/\s*\n\s*/g, ' ').trim();
  // What is not one of ours was not foreseen.
  if (error instanceof PareError) return line;
  return `unexpected error: ${line} (--verbose shows where)`;
}

/** Whether the work was stopped by its AbortSignal. */
export function isAbort(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'name' in error
    ? error.name === 'AbortError'
    : false;
}

function stackOf(error: Error): string {
  const { stack = String(error), cause } = error;
  return cause instanceof Error ? `${stack}\ncaused by ${stackOf(cause)}` : stack;
}
