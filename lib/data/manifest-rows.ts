/** The rows of a manifest, one after the other: JSON lines, tab-separated, comma-separated. */
import { createReadStream } from 'node:fs';
import { extname } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { parse as parseCsv } from 'csv-parse';
import { fileError } from '../files';
import { CorpusError } from './error';

export interface ManifestRow {
  values: Record<string, unknown>;
  /** Of the file, from 1. */
  line: number;
}

/** Hears of a line that is no row; without it the first one throws. */
type OnProblem = (error: CorpusError) => void;

/**
 * Reads a manifest row by row, with memory for some of them. The first line of a TSV or CSV file
 * names the columns; in TSV quotes mean nothing, as in CoVoST's and Common Voice's.
 * @param onProblem also of what ends the reading: where a row of CSV ends is not known after one that
 * is damaged
 * @throws CorpusError naming the line, FileError
 */
export async function* manifestRows(
  path: string,
  onProblem: OnProblem = (error) => {
    throw error;
  },
): AsyncGenerator<ManifestRow, void> {
  const rows = { '.tsv': readTsv, '.csv': readCsv }[extname(path).toLowerCase()] ?? readJsonl;
  try {
    yield* rows(path, onProblem);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall === undefined
      ? error
      : fileError('read', path, error);
  }
}

/** Other encodings would be read as text with holes, and be trained on. */
async function* decoded(path: string): AsyncGenerator<string, void> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    for await (const chunk of createReadStream(path)) {
      yield decoder.decode(chunk as Uint8Array, { stream: true });
    }
    yield decoder.decode();
  } catch (cause) {
    if ((cause as { code?: string }).code !== 'ERR_ENCODING_INVALID_ENCODED_DATA') throw cause;
    throw new CorpusError(`${path} is not UTF-8; convert it`, { cause });
  }
}

async function* lines(path: string): AsyncGenerator<{ text: string; line: number }, void> {
  const input = Readable.from(decoded(path));
  // A reader's own loop does not hear of the stream's errors.
  const failed = new Promise<never>((_, reject) => input.once('error', reject));
  failed.catch(() => undefined);
  const reader = createInterface({ input, crlfDelay: Infinity })[Symbol.asyncIterator]();
  let line = 0;
  try {
    for (;;) {
      const next = await Promise.race([reader.next(), failed]);
      if (next.done) return;
      line++;
      if (next.value.trim() !== '') yield { text: next.value, line };
    }
  } finally {
    input.destroy();
  }
}

async function* readJsonl(path: string, onProblem: OnProblem): AsyncGenerator<ManifestRow, void> {
  for await (const { text, line } of lines(path)) {
    let values: unknown;
    try {
      values = JSON.parse(text);
    } catch (cause) {
      const reason = `is not valid JSON: ${(cause as Error).message}; write it anew`;
      onProblem(new CorpusError(`${path} line ${line} ${reason}`, { cause }));
      continue;
    }
    if (typeof values === 'object' && values !== null && !Array.isArray(values)) {
      yield { values: values as Record<string, unknown>, line };
    } else {
      const remedy = 'give {"file_name": …} a line';
      onProblem(new CorpusError(`${path} line ${line} is no object; ${remedy}`));
    }
  }
}

async function* readTsv(path: string, onProblem: OnProblem): AsyncGenerator<ManifestRow, void> {
  let names: string[] | undefined;
  for await (const { text, line } of lines(path)) {
    const fields = text.split('\t');
    if (names === undefined) {
      names = fields.map((name) => name.trim());
    } else if (fields.length === names.length) {
      yield { values: Object.fromEntries(names.map((name, i) => [name, fields[i]])), line };
    } else {
      const remedy =
        fields.length < names.length ? 'add what is missing' : 'a text must have no tab';
      const counts = `has ${fields.length} fields, the first line names ${names.length}`;
      onProblem(new CorpusError(`${path} line ${line} ${counts}; ${remedy}`));
    }
  }
}

async function* readCsv(path: string, onProblem: OnProblem): AsyncGenerator<ManifestRow, void> {
  const parser = parseCsv({ bom: true, columns: true, info: true, skip_empty_lines: true });
  const input = Readable.from(decoded(path));
  input.once('error', (error) => parser.destroy(error));
  try {
    for await (const found of input.pipe(parser)) {
      const { record, info } = found as {
        record: Record<string, string>;
        info: { lines: number };
      };
      yield { values: record, line: info.lines };
    }
  } catch (cause) {
    if (!(cause as { code?: string }).code?.startsWith('CSV_')) throw cause;
    const reason = (cause as Error).message.replace(/\.?$/, '');
    const remedy = reason.includes('columns length is 1,')
      ? 'separate its columns by commas'
      : 'write it anew';
    onProblem(new CorpusError(`${path} is not valid CSV: ${reason}; ${remedy}`, { cause }));
  } finally {
    input.destroy();
  }
}
