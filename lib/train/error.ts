import { PareError } from '../errors';

/** Training cannot go on: a loss that is not finite, or a state that does not fit. */
export class TrainingError extends PareError {}
