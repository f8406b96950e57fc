import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileError } from '../files';
import { RunFolderError } from './run-folder';

/**
 * Keeps a second run out of a run folder: a file with the process id of who works there. That of a
 * process which is no more is taken over.
 * @returns what gives the folder back
 * @throws RunFolderError naming the process that has it
 */
export function lockRunFolder(dir: string): () => void {
  const path = join(dir, '.lock');
  for (;;) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw fileError('write', path, error);
    }
    const holder = Number(readFileSync(path, 'utf8'));
    if (holder !== process.pid && isAlive(holder)) {
      throw new RunFolderError(
        `${dir} is in use by process ${holder}; wait for it, or choose another output`,
      );
    }
    rmSync(path, { force: true });
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
