/** One attempt at a run in a process of its own, left alone or killed. */
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { PareError } from '../../errors';
import type { Progress } from '../context';
import type { FromChild, RunEvent, ToChild } from './protocol';

/** A run that ended by itself, with an error, where it was to be killed or to reach its end. */
export class ResumeError extends PareError {}

export interface AttemptOptions {
  /** Where the process runs. */
  cwd: string;
  /** Milliseconds between the point at which it is to be killed and the kill. */
  delay?: number;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

export interface Attempt {
  killed: boolean;
  /** Not where the point did not come again, so that it was killed at the end of the stage. */
  reached: boolean;
  events: RunEvent[];
  stages: { name: string; reused: boolean }[];
  warnings: string[];
}

/**
 * Follows a recipe, from where the attempt before was killed.
 * @throws ResumeError with the run's own words if it fails; the signal's reason
 */
export async function attempt(task: ToChild, options: AttemptOptions): Promise<Attempt> {
  const { cwd, delay = 0, onProgress, signal } = options;
  signal?.throwIfAborted();
  // Flags of this process, such as a debugger's, are not for another one.
  const child = fork(join(__dirname, 'child.js'), [], {
    ...{ cwd, execArgv: [] },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const kill = (): void => void child.kill('SIGKILL');
  signal?.addEventListener('abort', kill);
  const result: Attempt = { killed: false, reached: false, events: [], stages: [], warnings: [] };
  let isDone = false;
  let error: string | undefined;
  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.on('message', (message: FromChild) => {
    if ('event' in message) result.events.push(message.event);
    else if ('progress' in message) onProgress?.(message.progress);
    else if ('stage' in message) result.stages.push(message.stage);
    else if ('warning' in message) result.warnings.push(message.warning);
    else if ('error' in message) error = message.error;
    else if ('done' in message) isDone = true;
    else {
      result.reached = true;
      if (message.reached === 'soon') void setTimeout(delay).then(kill);
    }
  });
  try {
    const ended = await new Promise<{ code: number | null; by: string | null }>(
      (resolve, reject) => {
        child.on('error', reject);
        child.on('close', (code, by) => resolve({ code, by }));
        child.send(task);
      },
    );
    signal?.throwIfAborted();
    if (error !== undefined) throw new ResumeError(error);
    result.killed = ended.by === 'SIGKILL' && task.kill !== undefined;
    if (result.killed || isDone) return result;
    const said = stderr.trim().split('\n').at(-1) ?? '';
    throw new ResumeError(
      `its process ended (${ended.by ?? `code ${ended.code}`}${said === '' ? '' : `: ${said}`}); ` +
        'look whether memory ran out',
    );
  } finally {
    signal?.removeEventListener('abort', kill);
    kill();
  }
}
