export { finetune, trainingSteps, type FinetuneOptions } from './finetune';
export {
  compareEvaluations,
  type CompareOptions,
  type ComparisonTable,
  type EvaluationComparison,
} from './compare';
export { CompressionError } from './error';
export {
  compareToTeacher,
  constantAnswer,
  evaluateModel,
  references,
  scoreTranslations,
  type Evaluation,
  type Score,
  type ScoreComparison,
} from './evaluate';
export { defaultPromptBytes } from './candidate-scorer';
export {
  candidateCount,
  candidateLayers,
  checkRemoval,
  isTraceOf,
  middleBlock,
  searchLayers,
  type Criterion,
  type CriterionFunction,
  type ImportanceOptions,
  type ImportanceResult,
} from './importance';
export { type MetricKey, metricKeys } from './metric-keys';
export { agreement, heldOutLoss, type HeldOut, type HeldOutOptions } from './held-out';
export { mergeInFullPrecision, mergeInNf4 } from './merge-weights';
export {
  recommendForm,
  type FormReport,
  type MergedForm,
  type Recommendation,
  type RecommendOptions,
} from './merge-report';
export { selectTargets, trainingItems, type DistilledTargets } from './distill';
export {
  checkEmbeddings,
  checkSkipped,
  quantizeModel,
  type QuantizeModelOptions,
} from './quantize';
export { pruneCheckpoint, type PruneOptions } from './prune-checkpoint';
export { quantizeCheckpoint, type QuantizeCheckpointOptions } from './quantize-checkpoint';
export { loadQuantized, type LoadQuantizedOptions } from './load-quantized';
export { randomModel, trainTokenizer, type ModelShape } from './teacher';
export { translateSplit, type TranslatedSplit, type TranslateOptions } from './translate';
