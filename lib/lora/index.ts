/** Low-rank adapters, with PEFT's meaning and file format. */
export {
  addToWeight,
  attachLora,
  baseStateDict,
  checkTargets,
  deleteAdapter,
  detachLora,
  LoraAdapter,
  mergeLora,
  type AttachOptions,
} from './adapter';
export {
  activeAdapters,
  adapterNames,
  disableAdapter,
  enableAdapter,
  setAdapter,
} from './adapter-set';
export { LoraError, loraScale, type LoraConfig, type TargetModules } from './config';
export {
  isLinear,
  LoraLinear,
  LoraUpdate,
  type AdapterSwitch,
  type LinearLike,
  type LoraUpdateOptions,
} from './lora-linear';
export { loadAdapter } from './load';
export { saveAdapter, type SaveAdapterOptions } from './save';
