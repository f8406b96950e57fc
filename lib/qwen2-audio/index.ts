export { Batch, collate, type CollateOptions, type Example } from './batch';
export { ConfigError, parseConfig, type Qwen2AudioConfig } from './config';
export { generate, generateSequences, generateSteps } from './generate';
export {
  GenerationError,
  resolveGeneration,
  type GeneratedSequence,
  type GenerateOptions,
  type GenerationConfig,
  type SamplingDefaults,
} from './generation-config';
export { encodeAudio } from './prefill';
export { PromptState, type KnownPrompt } from './prompt-state';
export { ModelInputError, Qwen2Audio, skeleton } from './model';
export { audioTokenCount } from './lengths';
export { adapterFolder, adapterOf, CheckpointError, readConfig } from './folder';
export { DeviceError, loadModel, type LoadOptions } from './load';
export { loadNf4, type LoadNf4Options } from './load-nf4';
export {
  AudioTooLongError,
  AudioTooShortError,
  Processor,
  ProcessorError,
  translationInstruction,
  translatorSystemPrompt,
} from './processor';
export {
  planCheckpoint,
  resolveCheckpoint,
  type CheckpointSource,
  type ResolveOptions,
} from './resolve';
export { saveModel, type SaveOptions } from './save';
