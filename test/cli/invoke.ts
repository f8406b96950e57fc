import { Context } from '../../lib/cli/context';
import { runProgram } from '../../lib/cli/program';

export interface Invocation {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs a command line in this process, without a terminal. */
export async function pare(...args: string[]): Promise<Invocation> {
  return pareWith({}, ...args);
}

export async function pareWith(env: NodeJS.ProcessEnv, ...args: string[]): Promise<Invocation> {
  const written = { stdout: '', stderr: '' };
  const context = new Context(
    { write: (text) => (written.stdout += text) },
    { write: (text) => (written.stderr += text) },
    { ...process.env, ...env },
    // No time passes, so that a slow machine does not tell of its progress.
    () => 0,
  );
  const exitCode = await runProgram(args, context);
  return { exitCode, ...written };
}

/** The objects of `--json`, one a line. */
export function jsonLines(stdout: string): Record<string, unknown>[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** What a failing command must leave on standard error: one line that begins with `pare: `. */
export const oneLine: RegExp = /^pare: [^\n]+\n$/;
