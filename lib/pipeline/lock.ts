/** One run at a time in a run folder: a lock file that tells which process works there. */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileError, temporaryName } from '../files';
import { isAlive, thisProcess, type ProcessStamp } from '../processes';
import { RunFolderError } from './run-folder';

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
  const mine = JSON.stringify(thisProcess());
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
function parse(text: string): Partial<ProcessStamp> {
  try {
    const value = JSON.parse(text) as Partial<ProcessStamp> | number | null;
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

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
