/** Repositories of the Hugging Face hub, in its cache. */
export { isHubName } from './cache';
export { HubError, HubNotFoundError } from './error';
export { fetchSnapshot, type SnapshotOptions } from './snapshot';
