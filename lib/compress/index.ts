export { finetune, type FinetuneOptions } from './finetune';
export { CompressionError } from './error';
export {
  compareToTeacher,
  constantAnswer,
  evaluateModel,
  metricKeys,
  references,
  scoreTranslations,
  type Evaluation,
  type MetricKey,
  type Score,
  type ScoreComparison,
} from './evaluate';
export {
  candidateCount,
  candidateLayers,
  checkRemoval,
  isTraceOf,
  searchLayers,
  type Criterion,
  type ImportanceOptions,
  type ImportanceResult,
} from './importance';
export { selectTargets, trainingItems, type DistilledTargets } from './distill';
export {
  checkEmbeddings,
  checkSkipped,
  quantizeModel,
  type QuantizeModelOptions,
} from './quantize';
export { randomModel, trainTokenizer, type ModelShape } from './teacher';
export { translateSplit, type TranslatedSplit, type TranslateOptions } from './translate';
