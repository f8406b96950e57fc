export type { ErrorClass } from './messages';
export { RemoteObject } from './remote-object';
export { serve } from './serve';
