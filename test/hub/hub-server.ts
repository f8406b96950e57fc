/** A server on the loopback that answers as the Hugging Face hub does, of folders on this disk. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, relative } from 'node:path';

interface Repo {
  type: 'model' | 'dataset';
  dir: string;
  /** Where each branch is. */
  revisions: Record<string, string>;
}

export class HubServer {
  readonly repos = new Map<string, Repo>();
  /** `METHOD path` of each request. */
  readonly requests: string[] = [];
  /** Called before a file is sent; what it returns is sent instead, `undefined` hangs up half-way. */
  onFile: (path: string, content: Buffer) => Buffer | undefined = (_, content) => content;
  /** Status of every answer, where set. */
  status: number | undefined;
  /** Paths that a listing has beside what is there. */
  extraPaths: string[] = [];
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  static async start(): Promise<HubServer> {
    const hub = new HubServer();
    hub.#server.listen(0, '127.0.0.1');
    await once(hub.#server, 'listening');
    return hub;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** Paths of the files that were sent, each once. */
  get sent(): string[] {
    const files = this.requests.flatMap((line) => /\/resolve\/[^/]+\/(\S+)$/.exec(line)?.[1] ?? []);
    return [...new Set(files)];
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url!, this.url);
    this.requests.push(`${request.method} ${pathname}`);
    const json = (value: unknown, status = 200): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    if (this.status !== undefined) return json({ error: 'out of order' }, this.status);
    const info = /^\/api\/(model|dataset)s\/([^/]+\/[^/]+)\/revision\/([^/]+)$/.exec(pathname);
    const tree = /^\/api\/(?:model|dataset)s\/([^/]+\/[^/]+)\/tree\/([0-9a-f]{40})$/.exec(pathname);
    const file = /^\/(?:datasets\/)?([^/]+\/[^/]+)\/resolve\/([0-9a-f]{40})\/(.+)$/.exec(pathname);
    const repo = this.repos.get((info?.[2] ?? tree?.[1] ?? file?.[1])!);
    if (repo === undefined || (info && repo.type !== info[1])) {
      return json({ error: 'Repository not found' }, 404);
    }
    if (info) {
      const revision = decodeURIComponent(info[3]!);
      const known = Object.values(repo.revisions).includes(revision);
      const sha = known ? revision : repo.revisions[revision];
      if (sha === undefined) return json({ error: 'Invalid rev id' }, 404);
      return json({ _id: '1', id: info[2], sha, lastModified: '2026-01-01T00:00:00.000Z' });
    }
    if (tree) return json(this.#tree(repo.dir));
    return this.#send(request, response, join(repo.dir, file![3]!), file![3]!);
  }

  #tree(dir: string): unknown[] {
    const entries = readdirSync(dir, { withFileTypes: true, recursive: true }).map((entry) => {
      const full = join(entry.parentPath, entry.name);
      const path = relative(dir, full);
      if (!entry.isFile()) return { type: 'directory', path, size: 0, oid: '0'.repeat(40) };
      const content = readFileSync(full);
      const oid = hash('sha1', `blob ${content.length}\0`, content);
      if (!/\.safetensors$/.test(path)) return { type: 'file', path, size: content.length, oid };
      const lfs = { oid: hash('sha256', '', content), size: content.length, pointerSize: 130 };
      return { type: 'file', path, size: content.length, oid: '1'.repeat(40), lfs };
    });
    const extra = this.extraPaths.map((path) => ({
      ...{ type: 'file', path, size: 1, oid: '2'.repeat(40) },
    }));
    return [...entries, ...extra];
  }

  #send(request: IncomingMessage, response: ServerResponse, full: string, path: string): void {
    const content = readFileSync(full);
    const headers = { etag: `"${hash('sha1', '', content)}"`, 'accept-ranges': 'bytes' };
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (range) {
      const [start, end] = [Number(range[1]), Math.min(Number(range[2]), content.length - 1)];
      const part = content.subarray(start, end + 1);
      const size = `bytes ${start}-${end}/${content.length}`;
      response.writeHead(206, { ...headers, 'content-range': size });
      response.end(part);
      return;
    }
    const body = this.onFile(path, content);
    response.writeHead(200, { ...headers, 'content-length': content.length });
    if (body !== undefined) response.end(body);
    else response.write(content.subarray(0, 10), () => response.destroy());
  }
}

function hash(algorithm: string, head: string, content: Buffer): string {
  return createHash(algorithm).update(head).update(content).digest('hex');
}
