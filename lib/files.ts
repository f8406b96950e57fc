import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { PareError } from './errors';

/** A file or folder could not be read or written. */
export class FileError extends PareError {}

/** Reasons a person can act on, by errno. */
const remedies: Record<string, string> = {
  ENOSPC: 'the disk is full; free some space and run the same command again',
  EACCES: 'permission denied; check the owner and mode',
  EPERM: 'the system does not allow it; check the path and its owner',
  EROFS: 'the file system is read-only; choose another folder',
  EDQUOT: 'the disk quota is used up; free some space and run the same command again',
  EIO: 'the disk reports an error; check it, or choose another folder',
  ENAMETOOLONG: 'the name is too long; choose a shorter one',
  EMFILE: 'too many files are open; raise the limit (ulimit -n)',
  ENOENT: 'no such file or folder; check the path',
  EISDIR: 'it is a folder, not a file; give a file',
  EEXIST: 'a file is where a folder must be; check the path',
  ENOTDIR: 'a part of the path is a file, not a folder; check the path',
};

/** Turns an errno exception into a {@link FileError} of one line that names the file. */
export function fileError(action: string, path: string, cause: unknown): FileError {
  const code = (cause as NodeJS.ErrnoException)?.code ?? '';
  const reason = remedies[code] ?? (cause instanceof Error ? cause.message : String(cause));
  return new FileError(`cannot ${action} ${path}: ${reason}`, { cause });
}

/**
 * Makes a folder and those above it. Node's own recursive mkdir tries for ever where a folder can
 * be found but nothing be made in it (/proc).
 */
export function makeFolder(path: string): void {
  const parent = dirname(path);
  try {
    mkdirSync(path);
    return;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && statSync(path).isDirectory()) return;
    if (code !== 'ENOENT' || parent === path || existsSync(parent)) throw error;
  }
  makeFolder(parent);
  makeFolder(path);
}

/** Whether a path is there and is a device, a pipe or a socket, which a rename would destroy. */
function isSpecial(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found !== undefined && !found.isFile() && !found.isDirectory();
}

/**
 * Tries whether a new file or folder can be made at `path`, before long work on what it shall hold.
 * Nothing is left behind.
 * @throws FileError
 */
export function checkWritable(path: string): void {
  try {
    if (isSpecial(path)) return;
    if (existsSync(path) && statSync(path).isDirectory()) {
      throw fileError('write', path, { code: 'EISDIR' });
    }
    let folder = dirname(resolve(path));
    while (!existsSync(folder)) folder = dirname(folder);
    const probe = temporaryName(join(folder, '.pare'));
    closeSync(openSync(probe, 'wx'));
    rmSync(probe);
  } catch (error) {
    throw error instanceof PareError ? error : fileError('write', path, error);
  }
}

let counter = 0;

/** A name beside `path` for what is not complete yet. */
export function temporaryName(path: string): string {
  return `${path}.tmp-${process.pid}-${counter++}`;
}

/** A temporary name without what differs from process to process; undefined for any other name. */
export function nameBehind(temporary: string): string | undefined {
  return /^(.+)\.tmp-\d+-\d+$/.exec(temporary)?.[1];
}

/**
 * Removes what a process that was killed left in a folder under temporary names. Hidden files stay:
 * they may be another process' that waits for the folder's lock.
 */
export function removeTemporaries(dir: string): void {
  for (const entry of readdirSync(dir)) {
    if (!entry.startsWith('.') && nameBehind(entry) !== undefined)
      rmSync(join(dir, entry), { recursive: true, force: true });
  }
}

/** A file is opened under its temporary name, has some of its bytes, has all of them, has its name. */
export type WritePhase = 'opened' | 'part' | 'whole' | 'renamed';
let observer: ((path: string, phase: WritePhase) => void) | undefined;

/**
 * Has every atomic write of this process told as it goes: who shows that a run may be killed at any
 * moment kills it in the middle of one.
 * @internal
 */
export function observeWrites(listener: (path: string, phase: WritePhase) => void): void {
  observer = listener;
}

/**
 * Writes a file whole or not at all: temporary name, fsync, rename. `write` gets a function that
 * appends bytes, so that large files need not be held in memory. A device or a pipe (`/dev/stdout`)
 * stays one: it is written as it is.
 * @throws FileError naming the file; nothing is left behind.
 */
export function writeFileAtomicStream(
  path: string,
  write: (append: (chunk: Uint8Array) => void) => void,
): void {
  const temporary = temporaryName(path);
  let fd: number | undefined;
  try {
    if (isSpecial(path)) {
      writeThrough(path, write);
      return;
    }
    makeFolder(dirname(path));
    const file = openSync(temporary, 'wx');
    fd = file;
    observer?.(path, 'opened');
    let phase: WritePhase | undefined = 'part';
    write((chunk) => {
      writeAll(file, chunk);
      if (phase !== undefined) observer?.(path, phase);
      phase = undefined;
    });
    fsyncSync(file);
    closeSync(file);
    fd = undefined;
    observer?.(path, 'whole');
    renameSync(temporary, path);
    observer?.(path, 'renamed');
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    rmSync(temporary, { force: true });
    throw error instanceof PareError ? error : fileError('write', path, error);
  }
}

function writeThrough(path: string, write: (append: (chunk: Uint8Array) => void) => void): void {
  const fd = openSync(path, 'w');
  try {
    write((chunk) => writeAll(fd, chunk));
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd: number, chunk: Uint8Array): void {
  for (let at = 0; at < chunk.length;) at += writeSync(fd, chunk, at);
}

/** Writes a string or bytes whole or not at all; see {@link writeFileAtomicStream}. */
export function writeFileAtomic(path: string, data: string | Uint8Array): void {
  writeFileAtomicStream(path, (append) =>
    append(typeof data === 'string' ? Buffer.from(data) : data),
  );
}

/** Brings to disk what was written to a file by other means than those above. */
export function syncFile(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Makes the rename of `path` last through a power failure, where the system allows it. */
export function syncFolder(path: string): void {
  try {
    const fd = openSync(path, 'r');
    fsyncSync(fd);
    closeSync(fd);
  } catch {
    // Some file systems do not open folders; the rename is still atomic.
  }
}
