/** What a command gets from outside: where to write, and how to say that something failed. */
import { PareError } from '../errors';

/** A stream that is perhaps a terminal. */
export interface Output {
  write(text: string): unknown;
  isTTY?: boolean;
}

export class Context {
  /** 0 unless something failed. */
  exitCode: number = 0;

  constructor(
    readonly stdout: Output,
    readonly stderr: Output,
    readonly env: NodeJS.ProcessEnv = process.env,
    /** Milliseconds; progress is told by it. */
    readonly now: () => number = () => performance.now(),
  ) {}

  /** A line of the result. */
  print(line: string): void {
    this.stdout.write(`${line}\n`);
  }

  /** A line about the work, for people. */
  note(line: string): void {
    this.stderr.write(`${line}\n`);
  }

  /** One line on standard error; the stack only where PARE_DEBUG asks for it. */
  fail(error: unknown, exitCode: number = 1): void {
    this.stderr.write(`pare: ${describe(error)}\n`);
    if (this.env.PARE_DEBUG && error instanceof Error) {
      this.stderr.write(`${stackOf(error)}\n`);
    }
    this.exitCode = exitCode;
  }
}

function describe(error: unknown): string {
  if (isAbort(error)) return 'interrupted';
  const message = error instanceof Error ? error.message : String(error);
  const line = message.replace(/\s*\n\s*/g, ' ').trim();
  // What is not one of ours was not foreseen.
  if (error instanceof PareError) return line;
  return `unexpected error: ${line} (PARE_DEBUG=1 shows where)`;
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
