import type {
  Evaluation,
  ModelResult,
  ReportData,
  ReportLanguage,
  ReportTestSet,
  TranslationExample,
} from './types';

/** What everything is compared with, if the run has one. */
export function teacherOf(data: ReportData): ModelResult | undefined {
  return data.models.find(({ role }) => role === 'teacher');
}

/** What was measured of a model in a language on a test set. */
export function evaluationOf(
  model: ModelResult | undefined,
  language: ReportLanguage,
  testSet: ReportTestSet,
): Evaluation | undefined {
  return model?.evaluations.find((e) => e.language === language.code && e.testSet === testSet.id);
}

/** The models that were evaluated in a language on a test set. */
export function evaluatedModels(
  data: ReportData,
  language: ReportLanguage,
  testSet: ReportTestSet,
): { model: ModelResult; evaluation: Evaluation }[] {
  return data.models.flatMap((model) => {
    const evaluation = evaluationOf(model, language, testSet);
    return evaluation ? [{ model, evaluation }] : [];
  });
}

/** Every pair of language and test set, in the order of the lists. */
export function conditions(
  data: ReportData,
): { language: ReportLanguage; testSet: ReportTestSet }[] {
  return data.languages.flatMap((language) =>
    data.testSets.map((testSet) => ({ language, testSet })),
  );
}

/**
 * At most `limit` examples: first those where teacher and student differ, then those where both are
 * wrong in the same way, then those where both are right; at least a quarter is left to the latter
 * two where they exist. In each group, and in the result, the order is that of the input.
 */
export function chooseExamples(
  examples: readonly TranslationExample[],
  limit: number,
): TranslationExample[] {
  const differ = examples.filter((e) => e.teacher !== e.student);
  const agree = examples.filter((e) => e.teacher === e.student);
  const wrong = agree.filter((e) => e.student !== e.reference);
  const right = agree.filter((e) => e.student === e.reference);
  const others = [...wrong.slice(0, Math.ceil(limit / 4)), ...right];
  const reserved = Math.min(others.length, Math.ceil(limit / 4));
  const chosen = new Set([...differ.slice(0, limit - reserved), ...others].slice(0, limit));
  return examples.filter((example) => chosen.has(example));
}
