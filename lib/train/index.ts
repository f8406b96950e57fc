export { TrainingError } from './error';
export {
  Features,
  instructionOf,
  transcribe,
  transcribeInstruction,
  type FeaturesOptions,
  type Task,
} from './examples';
export { train, type OptimizerOptions, type TrainingLogEntry, type TrainOptions } from './loop';
export {
  optimizerNames,
  roundings,
  weightDtypes,
  type OptimizerName,
  type Rounding,
  type WeightDtype,
} from './optimizers';
export { scheduleFactor, scheduleNames, type ScheduleName } from './schedule';
export { stepMetrics } from './step-metrics';
export { EventFile } from './tensorboard';
export { TranslationTask, type TrainingItem, type TranslationOptions } from './translation';
