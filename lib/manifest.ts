/** What a folder held when it was complete, by SHA-256, so that damage is seen before it is used. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileError, syncFile, syncFolder } from './files';

export interface FileDigest {
  bytes: number;
  sha256: string;
}

/** By path below the folder, `/` between its parts. */
export type Manifest = Record<string, FileDigest>;

export interface DigestOptions {
  signal?: AbortSignal;
  /** Bytes that have been read, and all there are. */
  onProgress?: (done: number, total: number) => void;
}

/** Digests all files of a complete folder and brings them to disk, the folders included. */
export async function sealFolder(dir: string, options: DigestOptions = {}): Promise<Manifest> {
  const entries = readdirSync(dir, { withFileTypes: true, recursive: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const sizes = paths.map((path) => statSync(path).size);
  const read = counter(sum(sizes), options);
  const manifest: Manifest = {};
  for (const path of paths) {
    syncFile(path);
    manifest[relative(dir, path).replaceAll(sep, '/')] = await digest(path, options.signal, read);
  }
  for (const entry of entries) {
    if (entry.isDirectory()) syncFolder(join(entry.parentPath, entry.name));
  }
  syncFolder(dir);
  return manifest;
}

/**
 * Holds a folder against its manifest. Files that the manifest does not have are not looked at.
 * @returns the first thing that is wrong, in words; undefined if nothing is
 * @throws FileError if a file is there and cannot be read
 */
export async function damageIn(
  dir: string,
  manifest: Manifest,
  options: DigestOptions = {},
): Promise<string | undefined> {
  const files = Object.entries(manifest).map(([name, known]) => ({ name, ...known }));
  // What costs nothing to find comes first.
  for (const { name, bytes } of files) {
    const path = join(dir, name);
    if (!existsSync(path)) return `${name} is missing`;
    const { size } = statSync(path);
    if (size !== bytes) return `${name} has ${size} bytes, not ${bytes}`;
  }
  const read = counter(sum(files.map(({ bytes }) => bytes)), options);
  for (const { name, sha256 } of files) {
    const path = join(dir, name);
    try {
      const found = await digest(path, options.signal, read);
      if (found.sha256 !== sha256) return `${name} has other content than was written`;
    } catch (error) {
      options.signal?.throwIfAborted();
      throw fileError('read', path, error);
    }
  }
  return undefined;
}

async function digest(
  path: string,
  signal: AbortSignal | undefined,
  onRead: (bytes: number) => void,
): Promise<FileDigest> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const part of createReadStream(path, { highWaterMark: 1 << 22, signal })) {
    const chunk = part as Buffer;
    hash.update(chunk);
    bytes += chunk.length;
    onRead(chunk.length);
  }
  return { bytes, sha256: hash.digest('hex') };
}

function counter(total: number, { onProgress }: DigestOptions): (bytes: number) => void {
  let done = 0;
  return (bytes) => onProgress?.((done += bytes), total);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
