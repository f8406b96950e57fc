import { PareError } from '../errors';
import { nearName } from '../near-name';

/** A corpus that is missing, damaged, or split in a way that would flatter a score. */
export class CorpusError extends PareError {}

/** @param known splits that are there */
export function unknownSplit(dir: string, split: string, known: readonly string[]): CorpusError {
  const near = nearName(split, known);
  const meant = near === undefined ? '' : `; is it ${near}?`;
  return new CorpusError(`${dir} has no split '${split}'; it has ${known.join(', ')}${meant}`);
}
