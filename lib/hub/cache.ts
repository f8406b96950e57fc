/**
 * The cache that all of Hugging Face's tools share: `models--owner--name/` with the files by their
 * hash in `blobs/`, the trees of commits in `snapshots/` (links to blobs), and what commit a branch
 * or tag was last seen at in `refs/`.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { fileError, nameBehind, temporaryName, writeFileAtomic } from '../files';

export type RepoType = 'model' | 'dataset';

/** Whether a text has the form of a repository's name: `owner/name`. */
export function isHubName(text: string): boolean {
  const part = /^[A-Za-z0-9](?:[\w.-]*\w)?$/;
  const parts = text.split('/');
  return parts.length === 2 && parts.every((p) => part.test(p)) && !/--|\.\./.test(text);
}

/** `owner/name`, or `owner/name@revision`; undefined for what has another form. */
export function parseHubName(text: string): { name: string; revision?: string } | undefined {
  const [, name, revision] = /^([^@]+)(?:@([\w][\w./-]*))?$/.exec(text) ?? [];
  if (name === undefined || !isHubName(name)) return undefined;
  return { name, ...(revision !== undefined && { revision }) };
}

/** HF_HUB_CACHE, or `hub` in HF_HOME, or in `huggingface` of the user's cache. */
export function cacheFolder(env: NodeJS.ProcessEnv): string {
  const own = env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE;
  if (own) return own;
  const user = env.XDG_CACHE_HOME || join(homedir(), '.cache');
  return join(env.HF_HOME || join(user, 'huggingface'), 'hub');
}

const commitPattern = /^[0-9a-f]{40}$/;

/** One repository's part of the cache. */
export class RepoCache {
  readonly dir: string;

  constructor(cache: string, type: RepoType, name: string) {
    this.dir = join(cache, [`${type}s`, ...name.split('/')].join('--'));
  }

  snapshot(commit: string): string {
    return join(this.dir, 'snapshots', commit);
  }

  has(commit: string, path: string): boolean {
    // Through the link: one whose blob was deleted is made anew.
    return existsSync(join(this.snapshot(commit), path));
  }

  /** The commit of a branch, tag or commit, as far as the cache knows; undefined if it has none of it. */
  commitOf(revision: string): string | undefined {
    let commit = revision;
    if (!commitPattern.test(revision)) {
      const ref = join(this.dir, 'refs', revision);
      if (!existsSync(ref) || !statSync(ref).isFile()) return undefined;
      commit = readFileSync(ref, 'utf8').trim();
    }
    return commitPattern.test(commit) && existsSync(this.snapshot(commit)) ? commit : undefined;
  }

  /** Remembers what commit a branch or tag is at. */
  remember(revision: string, commit: string): void {
    if (revision !== commit) writeFileAtomic(join(this.dir, 'refs', revision), commit);
  }

  /**
   * Puts a file into a commit's tree, whole or not at all.
   * @param hash of its content, its name among the blobs
   * @param write makes the file, where it is not there yet
   * @throws FileError
   */
  async add(
    commit: string,
    path: string,
    hash: string,
    write: (temporary: string) => Promise<void>,
  ): Promise<void> {
    if (this.has(commit, path)) return;
    const link = join(this.snapshot(commit), path);
    const blob = join(this.dir, 'blobs', hash);
    const temporary = temporaryName(blob);
    try {
      mkdirSync(dirname(blob), { recursive: true });
      mkdirSync(dirname(link), { recursive: true });
      if (!existsSync(blob)) {
        removeLeft(blob);
        await write(temporary);
        renameSync(temporary, blob);
      }
      const linked = temporaryName(link);
      symlinkSync(relative(dirname(link), blob), linked);
      renameSync(linked, link);
    } catch (error) {
      rmSync(temporary, { force: true });
      const isErrno = typeof (error as NodeJS.ErrnoException).errno === 'number';
      throw isErrno && 'path' in (error as object) ? fileError('write', blob, error) : error;
    }
  }
}

/** Milliseconds after which what nobody has written to is what somebody left. */
const abandoned = 3_600_000;

/** Removes what downloads of a file left that were killed: gigabytes, which nobody goes on with. */
function removeLeft(blob: string): void {
  const dir = dirname(blob);
  for (const name of readdirSync(dir)) {
    if (nameBehind(name) !== basename(blob)) continue;
    const path = join(dir, name);
    // One that goes on, of this machine or another, was written to just now.
    const written = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    if (Date.now() - written > abandoned) rmSync(path, { force: true });
  }
}
