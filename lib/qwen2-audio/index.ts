export { Batch, collate, type CollateOptions, type Example } from './batch';
export { ConfigError, parseConfig, type Qwen2AudioConfig } from './config';
export { encodeAudio, generate, type GenerateOptions } from './generate';
export { ModelInputError, Qwen2Audio, skeleton } from './model';
export { audioTokenCount } from './lengths';
export { adapterFolder, adapterOf, CheckpointError, readConfig } from './folder';
export { loadModel, type LoadOptions } from './load';
export {
  AudioTooLongError,
  AudioTooShortError,
  Processor,
  ProcessorError,
  translationInstruction,
  translatorSystemPrompt,
} from './processor';
export { saveModel, type SaveOptions } from './save';
