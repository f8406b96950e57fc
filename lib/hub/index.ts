/** Repositories of the Hugging Face hub, in its cache. */
export { isHubName, parseHubName } from './cache';
export { HubError, HubNotFoundError, orFolder } from './error';
export { fetchSnapshot, planSnapshot, type PlannedFetch, type SnapshotOptions } from './snapshot';
