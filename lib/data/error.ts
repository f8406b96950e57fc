import { PareError } from '../errors';

/** A corpus that is missing, damaged, or split in a way that would flatter a score. */
export class CorpusError extends PareError {}
