export { Conv1d, type Conv1dOptions } from './conv1d';
export { Dropout } from './dropout';
export { Embedding } from './embedding';
export { Linear, type LinearOptions } from './linear';
export { Module, parameter, replaceModules, StateDictError, type StateDict } from './module';
export { LayerNorm, RMSNorm } from './norm';
