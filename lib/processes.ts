/** Processes by more than their number, which another one may have by now. */
import { readFileSync } from 'node:fs';

export interface ProcessStamp {
  pid: number;
  /** When the process began, in the kernel's ticks; unknown where /proc is missing. */
  started?: string;
}

export function thisProcess(): ProcessStamp {
  return { pid: process.pid, started: statusOf(process.pid)?.started };
}

/**
 * Whether a process goes on. This one's number without its beginning is taken for another's: who
 * asks knows what this process itself holds.
 */
export function isAlive({ pid, started }: Partial<ProcessStamp>): boolean {
  if (pid === undefined || !Number.isInteger(pid) || pid <= 0) return false;
  const status = statusOf(pid);
  // Ended, but its parent has not asked how: in a container that may last for ever.
  if (status?.state === 'Z') return false;
  const known = started !== undefined && status !== undefined;
  if (known && status.started !== started) return false;
  if (!known && pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function statusOf(pid: number): { state: string; started: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in brackets, may hold spaces and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0]!, started: fields[19]! };
  } catch {
    return undefined;
  }
}
