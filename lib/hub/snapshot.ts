import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { PareError } from '../errors';
import { cacheFolder, RepoCache, type RepoType } from './cache';
import { HubError, HubNotFoundError } from './error';

/** Which files of a repository are wanted, at which revision, and where they are kept. */
export interface SnapshotOptions {
  /** `model` by default. */
  type?: RepoType;
  /** A branch, tag or commit; `main` by default. */
  revision?: string;
  /** Which of a repository's files are needed, in the order in which they shall come. */
  choose: (paths: readonly string[]) => string[];
  /** The files are some of those that others need: the branch is not taken for being there. */
  partial?: boolean;
  signal?: AbortSignal;
  /** Bytes of what has to be fetched. */
  onProgress?: (done: number, total: number) => void;
  /** HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_TOKEN; the process's by default. */
  env?: NodeJS.ProcessEnv;
}

/** What {@link fetchSnapshot} would fetch. */
export interface PlannedFetch {
  name: string;
  revision: string;
  /** How many files are not in the cache. */
  files: number;
  bytes: number;
}

interface RemoteFile {
  path: string;
  size: number;
  /** sha256 of a large file, else git's sha1 of a blob. */
  hash: string;
}

/** What the hub answered, or that it did not. */
type Remote = { commit: string; files: RemoteFile[] } | { unreachable: unknown };

/**
 * The folder of a repository's files at a revision: from the hub's cache, after fetching what is not
 * there. With HF_HUB_OFFLINE, for a commit, and where the hub cannot be reached, what is cached has
 * to do.
 * @param name `owner/name`
 * @throws HubError, FileError, and the signal's reason; nothing half written stays
 */
export async function fetchSnapshot(name: string, options: SnapshotOptions): Promise<string> {
  const found = await locate(name, options);
  if ('folder' in found) return found.folder;
  const { hub, cache, commit, chosen } = found;
  let done = 0;
  const total = bytesOf(chosen);
  for (const file of chosen) {
    options.signal?.throwIfAborted();
    let written = 0;
    await cache.add(commit, file.path, file.hash, (temporary) =>
      hub.download(commit, file, temporary, (bytes) => {
        written += bytes;
        options.onProgress?.(done + written, total);
      }),
    );
    done += file.size;
  }
  // Last: a branch that is remembered is there as a whole.
  if (!options.partial) cache.remember(hub.revision, commit);
  return cache.snapshot(commit);
}

/**
 * What {@link fetchSnapshot} would fetch with the same options; nothing is fetched or written.
 * @throws HubError, and the signal's reason
 */
export async function planSnapshot(name: string, options: SnapshotOptions): Promise<PlannedFetch> {
  const { revision = 'main' } = options;
  const found = await locate(name, options);
  if ('folder' in found) return { name, revision, files: 0, bytes: 0 };
  const { cache, commit, chosen } = found;
  const missing = chosen.filter(({ path }) => !cache.has(commit, path));
  return { name, revision, files: missing.length, bytes: bytesOf(missing) };
}

function bytesOf(files: readonly RemoteFile[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}

/** The cached folder where that has to do; else the hub and the files of it that are chosen. */
type Located =
  | { folder: string }
  | { hub: Hub; cache: RepoCache; commit: string; chosen: readonly RemoteFile[] };

async function locate(name: string, options: SnapshotOptions): Promise<Located> {
  const { type = 'model', revision = 'main', signal, env = process.env } = options;
  const cacheDir = cacheFolder(env);
  const cache = new RepoCache(cacheDir, type, name);
  const cached = cache.commitOf(revision);
  signal?.throwIfAborted();
  if (isOffline(env)) {
    if (cached !== undefined) return { folder: cache.snapshot(cached) };
    throw new HubNotFoundError(
      `${name} (${revision}) is not in the cache ${cacheDir}, and HF_HUB_OFFLINE is set; ` +
        'unset it to fetch the files',
    );
  }
  const hub = new Hub(name, type, revision, signal, env);
  const remote = await hub.list();
  if ('unreachable' in remote) {
    if (cached !== undefined) return { folder: cache.snapshot(cached) };
    throw new HubNotFoundError(
      `${hub.endpoint} cannot be reached (${reasonOf(remote.unreachable)}), and ${name} ` +
        `(${revision}) is not in the cache ${cacheDir}; check the network, or give a folder`,
      { cause: remote.unreachable },
    );
  }
  const { commit, files } = remote;
  const byPath = new Map(files.map((file) => [file.path, file]));
  const chosen = options.choose([...byPath.keys()]).map((path) => byPath.get(path)!);
  return { hub, cache, commit, chosen };
}

function isOffline({ HF_HUB_OFFLINE = '' }: NodeJS.ProcessEnv): boolean {
  return ['1', 'on', 'yes', 'true'].includes(HF_HUB_OFFLINE.toLowerCase());
}

/** The hub's side of one repository. */
class Hub {
  readonly endpoint: string;
  readonly #token: string | undefined;
  readonly #fetch: typeof fetch;

  constructor(
    readonly name: string,
    readonly type: RepoType,
    readonly revision: string,
    readonly signal: AbortSignal | undefined,
    env: NodeJS.ProcessEnv,
  ) {
    this.endpoint = (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '');
    this.#token = env.HF_TOKEN || undefined;
    this.#fetch = (input, init) => fetch(input, { ...init, signal });
  }

  get #request(): {
    hubUrl: string;
    fetch: typeof fetch;
    accessToken: string | undefined;
    repo: { type: RepoType; name: string };
  } {
    const { endpoint, name, type } = this;
    const repo = { type, name };
    return { hubUrl: endpoint, fetch: this.#fetch, accessToken: this.#token, repo };
  }

  /** The commit that the revision is at, and its files. */
  async list(): Promise<Remote> {
    const { datasetInfo, listFiles, modelInfo } = await import('@huggingface/hub');
    const { name, revision } = this;
    try {
      const asked = { ...this.#request, name, revision };
      const { sha: commit } =
        this.type === 'model'
          ? await modelInfo({ ...asked, additionalFields: ['sha'] })
          : await datasetInfo({ ...asked, additionalFields: ['sha'] });
      const files: RemoteFile[] = [];
      const entries = listFiles({ ...this.#request, revision: commit, recursive: true });
      for await (const { type, path, size, oid, lfs } of entries) {
        const hash = lfs?.oid ?? oid;
        if (type !== 'file' || hash === undefined) continue;
        files.push({
          path: checkedPath(name, path),
          size: lfs?.size ?? size,
          hash: checked(name, hash),
        });
      }
      return { commit: checked(name, commit), files };
    } catch (error) {
      return this.#failed(error);
    }
  }

  /** Writes a file to `temporary` and compares its hash. */
  async download(
    commit: string,
    { path, size, hash }: RemoteFile,
    temporary: string,
    onBytes: (count: number) => void,
  ): Promise<void> {
    const { downloadFile } = await import('@huggingface/hub');
    const digest =
      hash.length === 64
        ? createHash('sha256')
        : createHash('sha1').update(`blob ${size}\0`, 'latin1');
    const counted = new Transform({
      transform(chunk: Buffer, _encoding, push) {
        digest.update(chunk);
        onBytes(chunk.length);
        push(null, chunk);
      },
    });
    const { signal } = this;
    try {
      const blob = await downloadFile({ ...this.#request, path, revision: commit });
      if (blob === null) throw new HubError(`${this.name} has no ${path} any more; run it again`);
      const source = Readable.fromWeb(blob.stream() as ReadableStream);
      const target = createWriteStream(temporary, { flags: 'wx' });
      try {
        await pipeline(source, counted, target, { signal });
      } finally {
        // One that fails before it is open still makes its file, which then must be removed.
        if (!target.closed) await once(target, 'close');
      }
    } catch (error) {
      const failed = this.#failed(error);
      throw new HubError(
        `${path} of ${this.name} did not come whole (${reasonOf(failed.unreachable)}); ` +
          'run the same again, what is there is kept',
        { cause: failed.unreachable },
      );
    }
    if (digest.digest('hex') !== hash) {
      throw new HubError(
        `${path} of ${this.name} came damaged: its hash is not ${hash}; run the same again`,
      );
    }
  }

  /** What says that the hub was not reached; everything else is thrown, in our words. */
  #failed(error: unknown): { unreachable: unknown } {
    this.signal?.throwIfAborted();
    const { name, endpoint, revision } = this;
    if (error instanceof PareError || isFileProblem(error)) throw error;
    const { statusCode } = error as { statusCode?: number };
    if (statusCode === 401 || statusCode === 403 || statusCode === 404) {
      throw new HubNotFoundError(
        `${endpoint} has no ${this.type} ${name} with the revision ${revision} that is open to you ` +
          `(status ${statusCode}); check the name, or set HF_TOKEN if it is private`,
        { cause: error },
      );
    }
    return { unreachable: error };
  }
}

function isFileProblem(error: unknown): boolean {
  const { syscall, path } = error as { syscall?: string; path?: string };
  return syscall !== undefined && path !== undefined;
}

/** fetch says only that it failed; why is below. */
function reasonOf(error: unknown): string {
  const { message = String(error), cause } = error as { message?: string; cause?: unknown };
  const { code, message: deeper } = (cause ?? {}) as { code?: string; message?: string };
  return code ?? (deeper || message);
}

/** A path of the repository as it may be joined to a folder. */
function checkedPath(name: string, path: string): string {
  const parts = path.split('/');
  if (!path.includes('\\') && parts.every((part) => part !== '' && part !== '.' && part !== '..')) {
    return path;
  }
  throw new HubError(`${name} has a file called ${JSON.stringify(path)}, which is no place in it`);
}

function checked(name: string, hash: string): string {
  if (/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash)) return hash;
  throw new HubError(`the hub names ${JSON.stringify(hash)} as a hash in ${name}; try again later`);
}
