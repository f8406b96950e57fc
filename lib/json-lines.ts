import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileError, makeFolder, syncFile, writeFileAtomic } from './files';

/** What a file of lines holds. */
interface Lines<Entry> {
  entries: Entry[];
  /** Numbers, from 1, of lines that cannot be what was written; a torn last line is none of them. */
  damaged: number[];
}

/**
 * A log of one JSON object a line. A line is written whole; a torn last line, and any that is
 * damaged, is dropped.
 */
export class JsonLines<Entry extends object> {
  #whole = false;

  /**
   * @param checked each line ends with a digest of itself, by which damage is seen, and is on disk
   * when `append` returns: for what a run goes on from
   */
  constructor(
    readonly path: string,
    readonly checked: boolean = false,
  ) {}

  append(entry: Entry): void {
    try {
      makeFolder(dirname(this.path));
      // What is appended to a torn line would be lost with it.
      if (!this.#whole) this.retain(() => true);
      appendFileSync(this.path, this.#line(entry));
      if (this.checked) syncFile(this.path);
    } catch (error) {
      throw fileError('write', this.path, error);
    }
  }

  /** Drops the entries that are not wanted, and all that is not whole. */
  retain(isWanted: (entry: Entry) => boolean): void {
    this.#whole = true;
    if (!existsSync(this.path)) return;
    const before = readFileSync(this.path, 'utf8');
    const wanted = this.read().filter(isWanted);
    const after = wanted.map((entry) => this.#line(entry)).join('');
    if (after !== before) writeFileAtomic(this.path, after);
  }

  /** Brings to disk what was appended. */
  sync(): void {
    if (existsSync(this.path)) syncFile(this.path);
  }

  read(): Entry[] {
    return this.scan().entries;
  }

  /** {@link read}, which also tells what is damaged. */
  scan(): Lines<Entry> {
    const result: Lines<Entry> = { entries: [], damaged: [] };
    if (!existsSync(this.path)) return result;
    const lines = readFileSync(this.path, 'utf8').split('\n');
    for (const [i, line] of lines.entries()) {
      if (line === '') continue;
      const entry = this.#parse(line);
      if (entry !== undefined) result.entries.push(entry);
      // The process may have been killed while it wrote the last one.
      else if (i < lines.length - 1) result.damaged.push(i + 1);
    }
    return result;
  }

  #line(entry: Entry): string {
    const line = this.checked ? { ...entry, digest: digestOf(entry) } : entry;
    return `${JSON.stringify(line)}\n`;
  }

  #parse(line: string): Entry | undefined {
    try {
      const value = JSON.parse(line) as Entry & { digest?: string };
      if (!this.checked) return value;
      const { digest, ...entry } = value;
      return digest === digestOf(entry) ? (entry as Entry) : undefined;
    } catch {
      return undefined;
    }
  }
}

function digestOf(entry: object): string {
  return createHash('sha256').update(JSON.stringify(entry)).digest('hex').slice(0, 16);
}
