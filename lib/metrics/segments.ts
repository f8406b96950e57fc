/** Hypotheses and references as sacreBLEU takes them: plain text files, a segment a line. */
import { readFileSync } from 'node:fs';
import { fileError } from '../files';
import { MetricError, type References } from './metric';
import { strip } from './whitespace';

/**
 * The lines of a text file in UTF-8; the newline at the end begins no further one.
 * @throws FileError if it cannot be read or is something else.
 */
export function readSegments(path: string): string[] {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const isText = code !== 'ERR_ENCODING_INVALID_ENCODED_DATA';
    throw fileError('read', path, isText ? error : 'it is not UTF-8; convert it');
  }
  if (text === '') return [];
  return text.replace(/\r?\n$/, '').split(/\r?\n/);
}

/**
 * The references of each segment from one file or several. Of several, a line may be empty where a
 * file has no reference for a segment, as long as another has one.
 * @throws FileError as {@link readSegments}; MetricError if the files differ in length.
 */
export function readReferences(paths: readonly string[]): References[] {
  const [first, ...others] = paths.map((path) => ({ path, lines: readSegments(path) }));
  if (first === undefined) throw new MetricError('no file of references: give one');
  for (const { path, lines } of others) {
    if (lines.length === first.lines.length) continue;
    const count = lines.length === 1 ? '1 line' : `${lines.length} lines`;
    throw new MetricError(
      `${path} has ${count}, but ${first.path} has ${first.lines.length}; ` +
        'all references need a line for each segment',
    );
  }
  if (others.length === 0) return first.lines;
  return first.lines.map((line, i) => {
    const all = [line, ...others.map(({ lines }) => lines[i]!)];
    const given = all.filter((reference) => strip(reference) !== '');
    // An empty one is left for the message that numbers the segment.
    return given.length > 0 ? given : [line];
  });
}
