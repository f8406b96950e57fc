import { PareError } from '../errors';

/** An audio file or an array of samples that cannot be used. */
export class AudioError extends PareError {}
