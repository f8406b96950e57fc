import { Bleu, type BleuOptions, type BleuResult } from './bleu';
import { Chrf, type ChrfOptions, type ChrfResult } from './chrf';
import { ExactMatch, type ExactMatchOptions, type ExactMatchResult } from './exact-match';
import { ErrorRate, type ErrorRateOptions, type ErrorRateResult } from './error-rate';
import { type Metric, MetricError } from './metric';
import { Ter, type TerOptions, type TerResult } from './ter';

/** What each metric can be told and what it gives, by the name that recipes and the CLI use. */
export interface MetricTypes {
  bleu: { options: BleuOptions; result: BleuResult };
  chrf: { options: Omit<ChrfOptions, 'wordOrder'>; result: ChrfResult };
  'chrf++': { options: Omit<ChrfOptions, 'wordOrder'>; result: ChrfResult };
  ter: { options: TerOptions; result: TerResult };
  wer: { options: ErrorRateOptions; result: ErrorRateResult };
  cer: { options: ErrorRateOptions; result: ErrorRateResult };
  exact_match: { options: ExactMatchOptions; result: ExactMatchResult };
}

/** The name of a metric in recipes and on the command line. */
export type MetricName = keyof MetricTypes;

const constructors: {
  [Name in MetricName]: (
    options: MetricTypes[Name]['options'],
  ) => Metric<MetricTypes[Name]['result']>;
} = {
  bleu: (options) => new Bleu(options),
  chrf: (options) => new Chrf({ ...options, wordOrder: 0 }),
  'chrf++': (options) => new Chrf({ ...options, wordOrder: 2 }),
  ter: (options) => new Ter(options),
  wer: (options) => new ErrorRate('word', options),
  cer: (options) => new ErrorRate('character', options),
  exact_match: (options) => new ExactMatch(options),
};

/** Every name that {@link createMetric} knows. */
export const metricNames: readonly MetricName[] = Object.keys(constructors) as MetricName[];

/**
 * Makes a metric by its name.
 * @throws MetricError for an unknown name or option value.
 */
export function createMetric<Name extends MetricName>(
  name: Name,
  options: MetricTypes[Name]['options'] = {},
): Metric<MetricTypes[Name]['result']> {
  if (!Object.hasOwn(constructors, name)) {
    throw new MetricError(`unknown metric '${String(name)}': use one of ${metricNames.join(', ')}`);
  }
  return constructors[name](options);
}

/** Options of metrics by their name. */
export type MetricOptions = {
  readonly [Name in MetricName]?: MetricTypes[Name]['options'];
};

/**
 * Makes a metric as it is reported for a target language: BLEU cuts Chinese into characters unless
 * its options name a tokenizer.
 * @param language two-letter code; undefined where it is not known
 * @param options of which those of `name` are taken
 * @throws MetricError for an unknown name or option value.
 */
export function createMetricFor(
  name: MetricName,
  language?: string,
  options: MetricOptions = {},
): Metric {
  if (name === 'bleu') return createMetric(name, { targetLanguage: language, ...options.bleu });
  return createMetric(name, options[name]);
}
