import { PareError } from '../errors';

/** A step of the method was asked for something that it cannot do. */
export class CompressionError extends PareError {}
