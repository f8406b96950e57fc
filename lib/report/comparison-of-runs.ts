/** Several runs of one recipe as one report, and as tables for a paper and for a program. */
import { bytes, fixed, integer, interval, metrics, percent, pValue } from './format';
import { conditions, evaluatedModels } from './select';
import type { MetricName, ModelResult, ReportData } from './types';

/** A run's report under the name that the comparison gives the run. */
export interface NamedReport {
  name: string;
  report: ReportData;
}

/** The first of each that are equal by their key. */
function distinct<T>(items: readonly T[], key: (item: T) => unknown = (item) => item): T[] {
  const found = new Map<string, T>();
  for (const item of items) {
    const of = JSON.stringify(key(item));
    if (!found.has(of)) found.set(of, item);
  }
  return [...found.values()];
}

/**
 * One report: the teacher, and the student of each run under the run's name. What is kept is told
 * against the run's own teacher; teachers that differ are all there.
 */
export function compareRuns(title: string, runs: readonly NamedReport[]): ReportData {
  const first = runs[0]!.report;
  const all = runs.map(({ report }) => report);
  const named = (role: ModelResult['role']): ModelResult[] =>
    runs.flatMap(({ name, report }) =>
      report.models
        .filter((model) => model.role === role)
        .map((model, i) => ({ ...model, name: i === 0 ? name : `${name}, ${model.name}` })),
    );
  const [teacher, ...others] = distinct(named('teacher'), ({ evaluations, size }) => [
    evaluations.map(({ tokensPerSecond: _, ...scores }) => scores),
    size,
  ]);
  return {
    ...first,
    title: `${title}: ${runs.length} runs compared`,
    stages: runs.flatMap(({ name, report }) =>
      report.stages.map((stage) => ({ ...stage, name: `${name}: ${stage.name}` })),
    ),
    languages: distinct(all.flatMap(({ languages }) => languages)),
    testSets: distinct(all.flatMap(({ testSets }) => testSets)),
    models: [
      ...(teacher === undefined ? [] : [{ ...teacher, name: 'teacher' }]),
      ...others.map((model) => ({
        ...model,
        name: `teacher of ${model.name}`,
        role: 'step' as const,
      })),
      ...named('student'),
    ],
    constantAnswers: distinct(all.flatMap(({ constantAnswers }) => constantAnswers)),
    importance: distinct(
      runs.flatMap(({ name, report }) =>
        report.importance.map((search) => ({ ...search, name: `${search.name} (${name})` })),
      ),
      ({ name: _, ...search }) => search,
    ),
    blocks: runs.flatMap(({ name, report }) =>
      (report.blocks ?? []).map((block) => ({ ...block, name: `${block.name} (${name})` })),
    ),
    curves: distinct(
      runs.flatMap(({ name, report }) =>
        report.curves.map((curve) => ({ ...curve, stage: `${curve.stage} (${name})` })),
      ),
      ({ stage: _, ...curve }) => curve,
    ),
    examples: [],
  };
}

/** A model under one condition, for programs. */
export interface ComparisonRow {
  run: string;
  language: string;
  testSet: string;
  decoderLayers: number;
  parameters: number;
  storedElements: number;
  bytes: number;
  scores: Partial<
    Record<
      MetricName,
      { value: number; low?: number; high?: number; kept?: number; pValue?: number }
    >
  >;
}

/** A comparison in Markdown, a table for each language and test set, and as rows. */
export function renderRuns(data: ReportData): { markdown: string; json: ComparisonRow[] } {
  const json: ComparisonRow[] = [];
  const blocks = conditions(data).flatMap(({ language, testSet }) => {
    const models = evaluatedModels(data, language, testSet);
    if (models.length === 0) return [];
    const lines = models.map(({ model, evaluation }) => {
      const { decoderLayers, parameters, storedElements, bytes: size } = model.size;
      const row: ComparisonRow = {
        ...{ run: model.name, language: language.code, testSet: testSet.id },
        ...{ decoderLayers, parameters, storedElements, bytes: size, scores: {} },
      };
      const cells = metrics.map(({ name }) => {
        const score = evaluation.scores[name];
        if (score === undefined) return '–';
        const versus = score.versusTeacher;
        row.scores[name] = {
          value: score.value,
          low: score.interval?.low,
          high: score.interval?.high,
          kept: versus?.retention ?? undefined,
          pValue: versus?.pValue ?? undefined,
        };
        const kept = versus ? `, ${percent(versus.retention)} kept, ${pValue(versus.pValue)}` : '';
        return `${fixed(score.value, 1)} ${interval(score.interval, 1)}${kept}`;
      });
      json.push(row);
      return [model.name, integer(decoderLayers), integer(parameters), bytes(size), ...cells];
    });
    const head = [
      'run',
      'layers',
      'parameters',
      'bytes',
      ...metrics.map(({ label, unit }) => (unit ? `${label}, ${unit}` : label)),
    ];
    const table = [head, head.map((_, i) => (i === 0 ? '---' : '--:')), ...lines];
    const rows = table.map((cells) => `| ${cells.map(cell).join(' | ')} |`);
    return [`## ${language.name}, ${testSet.name} (${testSet.id})`, '', ...rows, ''];
  });
  return { markdown: [`# ${data.title}`, '', ...blocks].join('\n'), json };
}

/** What would part a cell or break a line is escaped. */
function cell(text: string): string {
  return text.replace(/\|/g, '\\|').replace(/\s+/g, ' ');
}
