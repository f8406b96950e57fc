/** One run at a time in a run folder: a lock file that tells which process works there. */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileError, temporaryName } from '../files';
import { RunFolderError } from './run-folder';

interface Holder {
  pid: number;
  /** When the process began, in the kernel's ticks; unknown where /proc is missing. */
  started?: string;
}

/** Folders locked by this process: its own lock file may also be left from one of the same number. */
const held = new Set<string>();

/**
 * Keeps a second run out of a run folder, of this process or of another. The lock of a process that
 * is no more is taken over, also where its number was given to another process since.
 * @returns what gives the folder back
 * @throws RunFolderError naming the process that has it and the lock file
 */
export function lockRunFolder(dir: string): () => void {
  const folder = resolve(dir);
  const path = join(folder, '.lock');
  const mine = JSON.stringify({ pid: process.pid, started: statusOf(process.pid)?.started });
  if (held.has(folder)) throw inUse(dir, path, `another run of this process (${process.pid})`);
  while (!tryTake(path, mine)) {
    const text = read(path);
    if (text === undefined) continue; // Given back in between.
    const holder = parse(text);
    if (isAlive(holder)) throw inUse(dir, path, `process ${holder.pid}`);
    remove(path, text);
  }
  held.add(folder);
  let released = false;
  return () => {
    if (released) return;
    released = true;
    held.delete(folder);
    // Not if somebody removed the file by hand and another run has the folder now.
    if (read(path) === mine) rmSync(path, { force: true });
  };
}

function inUse(dir: string, path: string, holder: string): RunFolderError {
  return new RunFolderError(
    `${dir} is in use by ${holder}; wait for it, or choose another output; ` +
      `if no such run is going on, remove ${path}`,
  );
}

/** Takes the lock if nobody has it. A link, unlike an open, never shows a half-written file. */
function tryTake(path: string, mine: string): boolean {
  const whole = temporaryName(path);
  try {
    writeFileSync(whole, mine, { flag: 'wx' });
    try {
      linkSync(whole, path);
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      // Some file systems have no links.
      writeFileSync(path, mine, { flag: 'wx' });
    }
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw fileError('write', path, error);
  } finally {
    rmSync(whole, { force: true });
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw fileError('read', path, error);
  }
}

/** What a lock says; a number alone is what earlier versions wrote. */
function parse(text: string): Partial<Holder> {
  try {
    const value = JSON.parse(text) as Partial<Holder> | number | null;
    return typeof value === 'number' ? { pid: value } : (value ?? {});
  } catch {
    return {};
  }
}

/** Removes the lock of one that is no more, if it is still the one that `text` describes. */
function remove(path: string, text: string): void {
  const aside = temporaryName(path);
  try {
    renameSync(path, aside);
    // Another run took it over between our reading and our renaming: give it back.
    if (read(aside) !== text) linkSync(aside, path);
  } catch (error) {
    // Gone: removed by another that takes it over. There: a third run has it already.
    if (!['ENOENT', 'EEXIST'].includes(codeOf(error) ?? '')) throw fileError('remove', path, error);
  } finally {
    rmSync(aside, { force: true });
  }
}

function isAlive({ pid, started }: Partial<Holder>): boolean {
  if (pid === undefined || !Number.isInteger(pid) || pid <= 0) return false;
  const status = statusOf(pid);
  // Ended, but its parent has not asked how: in a container that may last for ever.
  if (status?.state === 'Z') return false;
  const known = started !== undefined && status !== undefined;
  if (known && status.started !== started) return false;
  // Our number alone does not mean us: then `held` would have the folder.
  if (!known && pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
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

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
