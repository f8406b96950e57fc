/** Compares what several models made of the same test sets. */
import {
  compareSystems,
  type ComparisonOptions,
  createMetricFor,
  type MetricName,
  type MetricOptions,
  readReferences,
  readSegments,
  type SystemComparison,
} from '../metrics';
import { CompressionError } from './error';
import { metricKeys } from './metric-keys';
import { readEvaluations } from './read-evaluations';

/** What is compared, and how. */
export interface CompareOptions extends ComparisonOptions {
  /** Default: what every evaluation reports. */
  metrics?: readonly MetricName[];
  metricOptions?: MetricOptions;
  /** Files of references; the systems are then plain text, a segment a line. */
  references?: readonly string[];
  /** What the systems are called, in their order. Default: their paths. */
  names?: readonly string[];
}

/** One test set in one language. */
export interface ComparisonTable extends SystemComparison {
  /** Null for plain text. */
  testSet: string | null;
  /** Two-letter code; null for plain text. */
  language: string | null;
}

/** The systems on every test set that all of them were evaluated on. */
export interface EvaluationComparison {
  tables: ComparisonTable[];
  /** Test sets that not all systems were evaluated on. */
  leftOut: { testSet: string; language: string; missing: string[] }[];
}

/**
 * Compares systems with the first of them, the baseline.
 * @param paths of run folders, their evaluation folders, or files that `pare evaluate --json`
 * printed; with `references` of plain text files
 * @throws CompressionError where they have no test set in common or its references differ,
 * MetricError as `compareSystems`, FileError
 */
export function compareEvaluations(
  paths: readonly string[],
  options: CompareOptions = {},
): EvaluationComparison {
  const { metrics = metricKeys, metricOptions, references, names = paths } = options;
  if (paths.length < 2) {
    throw new CompressionError('a comparison needs two systems or more, the baseline first');
  }
  if (names.length !== paths.length) {
    throw new CompressionError(
      `${paths.length} systems but ${names.length} names; give one a system, in the same order`,
    );
  }
  const createMetrics = (language?: string): ReturnType<typeof createMetricFor>[] =>
    metrics.map((name) => createMetricFor(name, language, metricOptions));
  if (references !== undefined) {
    const systems = paths.map((path, i) => ({ name: names[i]!, hypotheses: readSegments(path) }));
    const refs = readReferences(references);
    const table = compareSystems(systems, refs, createMetrics(), options);
    return { tables: [{ testSet: null, language: null, ...table }], leftOut: [] };
  }

  const systems = paths.map((path, i) => ({ name: names[i]!, evaluated: readEvaluations(path) }));
  const result: EvaluationComparison = { tables: [], leftOut: [] };
  for (const { testSet, language } of conditionsOf(systems)) {
    const texts = systems.map(({ evaluated }) =>
      evaluated.find((each) => each.testSet === testSet && each.language === language),
    );
    const missing = names.filter((_, i) => texts[i] === undefined);
    if (missing.length > 0) {
      result.leftOut.push({ testSet, language, missing });
      continue;
    }
    const refs = texts[0]!.references;
    const other = texts.findIndex((each) => !equal(each!.references, refs));
    if (other >= 0) {
      throw new CompressionError(
        `${names[other]} and ${names[0]} have different references for ${testSet} in ` +
          `${language}; evaluate both on the same utterances`,
      );
    }
    const hypotheses = systems.map(({ name }, i) => ({ name, hypotheses: texts[i]!.texts }));
    const table = compareSystems(hypotheses, refs, createMetrics(language), options);
    result.tables.push({ testSet, language, ...table });
  }
  if (result.tables.length === 0) {
    throw new CompressionError(
      `${names.join(', ')} have no test set in common; evaluate all on the same split and language`,
    );
  }
  return result;
}

/** Each test set and language once, in the order in which they come. */
function conditionsOf(
  systems: readonly { evaluated: readonly { testSet: string; language: string }[] }[],
): { testSet: string; language: string }[] {
  const seen = new Map<string, { testSet: string; language: string }>();
  for (const { testSet, language } of systems.flatMap(({ evaluated }) => evaluated)) {
    const key = JSON.stringify([testSet, language]);
    if (!seen.has(key)) seen.set(key, { testSet, language });
  }
  return [...seen.values()];
}

function equal(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, i) => text === b[i]);
}
