/** `pare`: the rooms by their names, and what most programs need in front. */
export { PareError } from './errors';
export { demo } from './demo';
export {
  SpeechTranslator,
  TargetLanguageWarning,
  type BatchRequest,
  type SpeechInput,
  type Translation,
  type TranslationOutcome,
  type TranslationRequest,
  type TranslatorOptions,
} from './qwen2-audio/translator';
export { WorkerTranslator } from './qwen2-audio/worker-translator';
export type {
  RecordingOutcome,
  RecordingRequest,
  RecordingTranslation,
  TranslatedSegment,
} from './qwen2-audio/recordings';
export {
  account,
  inspectCheckpoint,
  logicalParameters,
  type Accounting,
} from './qwen2-audio/accounting';
export { loadModel, Processor, Qwen2Audio, saveModel } from './qwen2-audio';
export { pruneCheckpoint, type PruneOptions } from './compress/prune-checkpoint';
export {
  mergeCheckpoint,
  type DevSet,
  type MergeOptions,
  type MergeReport,
} from './compress/merge';
export { loadQuantized, quantizeCheckpoint } from './compress';
export { synthesizeCheckpoint, type SynthesizeOptions } from './qwen2-audio/synthesize';
export {
  runRecipe,
  runSweep,
  type RunOptions,
  type RunResult,
  type SweepOptions,
  type SweepResult,
} from './pipeline';

export * as torch from './torch';
export * as nf4 from './nf4';
export * as lora from './lora';
export * as audio from './audio';
export * as text from './text';
export * as hub from './hub';
export * as qwen2Audio from './qwen2-audio';
export * as data from './data';
export * as metrics from './metrics';
export * as train from './train';
export * as compress from './compress';
export * as pipeline from './pipeline';
export * as ranks from './ranks';
export * as report from './report';
export * as notebook from './notebook';
