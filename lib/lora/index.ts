/** Low-rank adapters, with PEFT's meaning and file format. */
export {
  attachLora,
  baseStateDict,
  checkTargets,
  detachLora,
  LoraAdapter,
  mergeLora,
} from './adapter';
export { LoraError, loraScale, type LoraConfig, type TargetModules } from './config';
export { isLinear, LoraLinear, type LinearLike, type LoraLinearOptions } from './lora-linear';
export { loadAdapter } from './load';
export { saveAdapter, type SaveAdapterOptions } from './save';
