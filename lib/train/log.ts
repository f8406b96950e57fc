import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileError } from '../files';

/** A log of one JSON object a line. A line is written whole; a torn last line is dropped. */
export class JsonLines<Entry extends object> {
  constructor(readonly path: string) {}

  append(entry: Entry): void {
    try {
      mkdirSync(dirname(this.path), { recursive: true });
      appendFileSync(this.path, `${JSON.stringify(entry)}\n`);
    } catch (error) {
      throw fileError('write', this.path, error);
    }
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
