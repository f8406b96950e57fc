/** Several processes: c10d's store and process groups, and gradients summed over them. */
export * from './default-group';
export { placeFromEnvironment, type Place } from './environment';
export { DistributedError } from './error';
export {
  availableBackends,
  backends,
  broadcastAll,
  ProcessGroup,
  type Backend,
  type GroupOptions,
  type ReduceOp,
} from './process-group';
export { GradientReducer } from './reducer';
export { rendezvous, type Meeting, type RendezvousOptions } from './rendezvous';
export { TcpStore, type StoreOptions } from './store';
