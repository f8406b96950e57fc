/**
 * Scores of translations: BLEU, chrF and chrF++ equal to sacreBLEU's, exact match, and bootstrap
 * intervals and comparisons of them.
 */
export { Bleu, bleu, type BleuOptions, type BleuResult } from './bleu';
export {
  bootstrapInterval,
  type BootstrapOptions,
  type IntervalOptions,
  type IntervalResult,
  pairedBootstrap,
  type PairedResult,
  retention,
  type RetentionResult,
} from './bootstrap';
export { Chrf, chrf, type ChrfOptions, type ChrfResult } from './chrf';
export { createMetric, type MetricName, metricNames, type MetricTypes } from './create';
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
  SACREBLEU_VERSION,
} from './metric';
export { type TokenizerName, tokenizers } from './tokenizers';
