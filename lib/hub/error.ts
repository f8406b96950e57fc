import { PareError } from '../errors';

/** A repository cannot be had: unknown, out of reach, damaged on the way. */
export class HubError extends PareError {}

/** Neither the hub nor its cache has the repository at this revision, as far as one can see. */
export class HubNotFoundError extends HubError {}

/**
 * Does what takes a text for a name on the hub, since there is no folder of that name: the error
 * says so, where the hub has no such repository, either.
 */
export async function orFolder<T>(text: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof HubNotFoundError) {
      error.message = `there is no folder ${text} here, and ${error.message}`;
    }
    throw error;
  }
}
