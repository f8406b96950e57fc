import { PareError } from '../errors';

/** A repository cannot be had: unknown, out of reach, damaged on the way. */
export class HubError extends PareError {}

/** Neither the hub nor its cache has the repository at this revision, as far as one can see. */
export class HubNotFoundError extends HubError {}
