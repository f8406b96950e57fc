/**
 * Scores of translations and transcripts: BLEU, chrF, chrF++ and TER equal to sacreBLEU's, word and
 * character error rate with Whisper's normalisers, exact match; bootstrap intervals, and paired tests
 * of systems.
 */
export { Bleu, bleu, type BleuOptions, type BleuResult } from './bleu';
export {
  bootstrapInterval,
  type BootstrapOptions,
  type IntervalOptions,
  type IntervalResult,
  pairedApproximateRandomization,
  pairedBootstrap,
  type PairedResult,
  type RandomizationOptions,
  retention,
  type RetentionResult,
} from './bootstrap';
export { Chrf, chrf, type ChrfOptions, type ChrfResult } from './chrf';
export {
  compareSystems,
  type ComparedMetric,
  type ComparedScore,
  type ComparedSystem,
  type ComparisonOptions,
  type PairedTest,
  type System,
  type SystemComparison,
} from './compare';
export {
  createMetric,
  createMetricFor,
  type MetricName,
  metricNames,
  type MetricOptions,
  type MetricTypes,
} from './create';
export { cer, ErrorRate, type ErrorRateOptions, type ErrorRateResult, wer } from './error-rate';
export {
  ExactMatch,
  exactMatch,
  type ExactMatchOptions,
  type ExactMatchResult,
} from './exact-match';
export {
  corpusScore,
  type Metric,
  MetricError,
  type MetricResult,
  type References,
  SACREBLEU_VERSION,
  type Signed,
} from './metric';
export { readReferences, readSegments } from './segments';
export { englishNormalizer } from './english-normalizer';
export {
  basicNormalizer,
  type BasicNormalizerOptions,
  type Normalizer,
  type NormalizerName,
} from './normalizers';
export { Ter, ter, type TerOptions, type TerResult } from './ter';
export { type TokenizerName, tokenizers } from './tokenizers';
