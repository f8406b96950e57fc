import { appendFileSync, existsSync, readFileSync, truncateSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileError, makeFolder } from '../files';

/** A log of one JSON object a line. A line is written whole; a torn last line is dropped. */
export class JsonLines<Entry extends object> {
  #whole = false;

  constructor(readonly path: string) {}

  append(entry: Entry): void {
    try {
      makeFolder(dirname(this.path));
      if (!this.#whole) this.#mend();
      this.#whole = true;
      appendFileSync(this.path, `${JSON.stringify(entry)}\n`);
    } catch (error) {
      throw fileError('write', this.path, error);
    }
  }

  /** Cuts off a torn last line: what is appended to it would be lost with it. */
  #mend(): void {
    if (!existsSync(this.path)) return;
    const bytes = readFileSync(this.path);
    const end = bytes.lastIndexOf('\n') + 1;
    if (end === bytes.length) return;
    // Torn between its last brace and the newline, it is whole, and `read` has counted it.
    if (isJson(bytes.toString('utf8', end))) appendFileSync(this.path, '\n');
    else truncateSync(this.path, end);
  }

  read(): Entry[] {
    if (!existsSync(this.path)) return [];
    const entries: Entry[] = [];
    for (const line of readFileSync(this.path, 'utf8').split('\n')) {
      if (line === '') continue;
      try {
        entries.push(JSON.parse(line) as Entry);
      } catch {
        break; // The process was killed while writing this line.
      }
    }
    return entries;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
