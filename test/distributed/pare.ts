/** The command-line program as a process, and its ranks below it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Program {
  child: ChildProcess;
  ended: Promise<{ code: number | null; out: string; err: string }>;
}

export const pareProgram: string = join(__dirname, '../../bin/pare.js');

export function run(
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Program {
  const child = spawn(command, args, {
    env: { ...process.env, OMP_NUM_THREADS: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const texts = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => (texts.out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (texts.err += chunk.toString()));
  const ended = new Promise<Awaited<Program['ended']>>((resolve) =>
    child.on('close', (code) => resolve({ code, ...texts })),
  );
  return { child, ended };
}

export function pare(args: readonly string[], env: Record<string, string> = {}): Program {
  return run(process.execPath, [pareProgram, ...args], env);
}

/** The process of a rank, below the one that launched it; undefined if there is none (any more). */
export function pidOf({ child }: Program, rank: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
    const pids = children.trim().split(' ').map(Number);
    return pids.find((pid) =>
      readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`\0RANK=${rank}\0`),
    );
  } catch {
    return undefined;
  }
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Whether a stage under way has written this; its state after two steps unless told otherwise. */
export function hasState(
  dir: string,
  stage: string,
  file: string = 'checkpoints/checkpoint-2',
): boolean {
  if (!existsSync(dir)) return false;
  const work = readdirSync(dir).find(
    (name) => name.startsWith(`.${stage}-`) && name.endsWith('.work'),
  );
  return work !== undefined && existsSync(join(dir, work, file));
}
