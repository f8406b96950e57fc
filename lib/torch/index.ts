export * from './create';
export {
  cudaDeviceCount,
  cudaDeviceName,
  cudaFreeMemory,
  CudaGraph,
  cudaIsAvailable,
  cudaSetDevice,
  cudaSynchronize,
} from './cuda';
export { dtypes, dtypeSize, type DType } from './dtype';
export { TorchError } from './binding';
export { TorchWarning } from './warnings';
export { Tensor, type TypedArray } from './tensor';
export { emptyCache, memoryStats } from './memory';
export { keep, memory, scope, ScopeError, type TensorOwner } from './scope';
export {
  autocast,
  backward,
  checkpoint,
  discardCheckpoints,
  grad,
  isAutocasting,
  isGradEnabled,
  noGrad,
} from './autograd';
export * from './random';
export * from './safetensors';
export * as distributed from './distributed';
export * as functional from './functional';
export * as nn from './nn';
export * as optim from './optim';
