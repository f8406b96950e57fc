import type { MetricName } from '../metrics';

/** What every evaluation reports, by the names of the metrics room. */
export const metricKeys = [
  'bleu',
  'chrf',
  'chrf++',
  'exact_match',
] as const satisfies readonly MetricName[];
/** One of {@link metricKeys}. */
export type MetricKey = (typeof metricKeys)[number];
