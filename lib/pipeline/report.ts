/** Gathers what the stages left in the run folder into the report. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { compareToTeacher, constantAnswer, references, scoreTranslations } from '../compress';
import { metricKeys, type ImportanceResult, type MetricKey, type Score } from '../compress';
import { candidateLayers, middleBlock, type Criterion, type ScoreComparison } from '../compress';
import { writeFileAtomic } from '../files';
import { account } from '../qwen2-audio/accounting';
import { readConfig } from '../qwen2-audio';
import {
  renderReport,
  type Comparison,
  type ConstantAnswer,
  type Evaluation as ReportEvaluation,
  type ImportanceSearch,
  type MetricScore,
  type MetricScores,
  type ModelResult,
  type Protocol,
  type RemovedBlock,
  type ReportData,
  type StageTime,
  type TranslationExample,
} from '../report';
import { torchVersion } from '../torch';
import { findLanguage } from '../text';
import { progressOf, type Context } from './context';
import { curveOf } from './curve';
import type { Evaluations } from './stages/evaluate';
import { readLog } from './stages/teacher';
import { hashOf } from './run-folder';

export type StageTiming = StageTime;

/** A model of the chain with its test scores. */
export interface TestedModel {
  name: string;
  role: ModelResult['role'];
  /** Checkpoint folder. */
  model: string;
  evaluations: Evaluations;
  /** Stands for the model and its evaluation. */
  hash: string;
}

export interface ReportInputs {
  yaml: string;
  tested: TestedModel[];
  timings: StageTiming[];
  logs: { stage: string; path: string | undefined }[];
  search: ImportanceResult | undefined;
}

/**
 * Writes report.json and report.html into the run folder, unless they are there and of the very same
 * models. The bootstraps take seconds: between them the event loop turns, progress is reported, and
 * an abort is heard.
 */
export async function writeReport(
  context: Context,
  inputs: ReportInputs,
): Promise<{ report: ReportData; reportPath: string }> {
  const { dir } = context.folder;
  const paths = { json: join(dir, 'report.json'), html: join(dir, 'report.html') };
  const stamp = join(dir, 'report.stamp');
  const hash = hashOf([
    packageVersion(),
    inputs.yaml,
    inputs.tested.map(({ name, role, hash }) => [name, role, hash]),
  ]);
  const before = drawn(paths, stamp, hash);
  if (before !== undefined) return { report: before, reportPath: paths.html };
  const report = await gather(context, inputs);
  rmSync(stamp, { force: true });
  writeFileAtomic(paths.json, `${JSON.stringify(report, null, 1)}\n`);
  writeFileAtomic(paths.html, renderReport(report));
  writeFileAtomic(stamp, `${hash}\n`);
  return { report, reportPath: paths.html };
}

/** The report of a run that has one. */
export function readReport(dir: string): { report: ReportData; reportPath: string } {
  const report = JSON.parse(readFileSync(join(dir, 'report.json'), 'utf8')) as ReportData;
  return { report, reportPath: join(dir, 'report.html') };
}

/** The report that is there, if it was drawn from the same. */
function drawn(
  paths: { json: string; html: string },
  stamp: string,
  hash: string,
): ReportData | undefined {
  if (![stamp, paths.json, paths.html].every((path) => existsSync(path))) return undefined;
  if (readFileSync(stamp, 'utf8').trim() !== hash) return undefined;
  try {
    return JSON.parse(readFileSync(paths.json, 'utf8')) as ReportData;
  } catch {
    return undefined; // Damaged by hand: it is drawn anew.
  }
}

async function gather(context: Context, inputs: ReportInputs): Promise<ReportData> {
  const { recipe } = context;
  const { languages, corpus } = recipe;
  const teacher = inputs.tested[0]!;
  const { models, constantAnswers } = await scored(context, inputs.tested);
  return {
    title: recipe.title ?? recipe.name,
    date: new Date().toISOString(),
    recipe: { name: recipe.name, yaml: inputs.yaml },
    versions: {
      pare: packageVersion(),
      node: process.versions.node,
      libtorch: torchVersion(),
      cpu: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} cores`,
      platform: `${process.platform} ${process.arch}`,
    },
    stages: inputs.timings,
    languages: languages.map((code) => ({ code, name: findLanguage(code)?.name ?? code })),
    testSets: corpus.test.map((id) => ({ id, name: corpus.testNames[id] ?? id })),
    models,
    constantAnswers,
    importance: inputs.search === undefined ? [] : [searchResult(context, inputs.search, teacher)],
    blocks: removedBlocks(context, teacher),
    curves: inputs.logs
      .filter(({ path }) => path !== undefined)
      .map(({ stage, path }) => curveOf(stage, readLog(path))),
    examples: examples(context, teacher, inputs.tested.at(-1)!),
    protocol: protocol(context),
  };
}

/** What takes the time: bootstraps, a model, split and language after the other. */
async function scored(
  context: Context,
  tested: readonly TestedModel[],
): Promise<Pick<ReportData, 'models' | 'constantAnswers'>> {
  const { languages, corpus } = context.recipe;
  const teacher = tested[0]!;
  const conditions = corpus.test.flatMap((split) =>
    languages.map((language) => ({ split, language })),
  );
  // The teacher is compared with nothing, but each condition has its constant answer.
  const total = tested.length * conditions.length;
  const onProgress = progressOf(context, 'report');
  let done = 0;
  const turn = async (): Promise<void> => {
    onProgress(done++, total);
    await setImmediate();
    context.options.signal?.throwIfAborted();
  };
  await turn();
  const models: ModelResult[] = [];
  for (const model of tested) {
    // Where the files lie is of no use to a reader of the report.
    const { files: _files, adapter: _adapter, ...size } = account(model.model);
    const evaluations: ReportEvaluation[] = [];
    for (const { split, language } of conditions) {
      evaluations.push(evaluationResult(context, model, teacher, split, language));
      if (model !== teacher) await turn();
    }
    models.push({ name: model.name, role: model.role, size, evaluations });
  }
  const constantAnswers: ConstantAnswer[] = [];
  for (const { split, language } of conditions) {
    constantAnswers.push(constantResult(context, split, language));
    await turn();
  }
  return { models, constantAnswers };
}

function evaluationResult(
  context: Context,
  tested: TestedModel,
  teacher: TestedModel,
  split: string,
  language: string,
): ReportEvaluation {
  const { texts, segments, scores, tokensPerSecond } = evaluationOf(tested, split, language);
  const refs = references(context.splits[split]!, language);
  const other = evaluationOf(teacher, split, language).texts;
  const versus =
    tested === teacher
      ? undefined
      : compareToTeacher(texts, other, refs, language, context.recipe.evaluate);
  return { language, testSet: split, segments, scores: scoresOf(scores, versus), tokensPerSecond };
}

function evaluationOf(
  model: TestedModel,
  split: string,
  language: string,
): Evaluations[string][number] {
  return model.evaluations[split]!.find((evaluation) => evaluation.language === language)!;
}

function scoresOf(
  scores: Record<MetricKey, Score>,
  versus?: Record<MetricKey, ScoreComparison>,
): MetricScores {
  const entries = metricKeys.map((key) => {
    const { score, low, high, signature } = scores[key];
    const result: MetricScore = {
      value: score,
      interval: { low, high },
      signature,
      versusTeacher: versus === undefined ? null : comparisonOf(versus[key]),
    };
    return [key, result] as const;
  });
  return Object.fromEntries(entries);
}

function comparisonOf({ retention, low, high, pValue }: ScoreComparison): Comparison {
  const interval = low === undefined || high === undefined ? null : { low, high };
  return { retention: retention ?? null, interval, pValue };
}

function constantResult(context: Context, split: string, language: string): ConstantAnswer {
  const { corpus, evaluate } = context.recipe;
  const answer = constantAnswer(references(context.splits[corpus.train]!, language));
  const refs = references(context.splits[split]!, language);
  const hypotheses = refs.map(() => answer);
  const scores = scoresOf(scoreTranslations(hypotheses, refs, language, evaluate));
  return { language, testSet: split, answer, scores };
}

const criterionNames: Record<Criterion, string> = {
  bleu: 'BLEU',
  chrf: 'chrF',
  'chrf++': 'chrF++',
  loss: 'loss',
};

function searchResult(
  context: Context,
  search: ImportanceResult,
  teacher: TestedModel,
): ImportanceSearch {
  const { importance, languages, corpus } = context.recipe;
  const { criterion, protectedLayers } = importance!;
  const layers = readConfig(teacher.model).text.numHiddenLayers;
  const open = new Set(candidateLayers(layers, protectedLayers));
  const names = languages.map((code) => findLanguage(code)?.name ?? code);
  return {
    name: names.join(' and '),
    criterion:
      typeof criterion === 'string'
        ? criterionNames[criterion]
        : languages
            .map(
              (code) => `${criterionNames[criterion[code]!]} (${findLanguage(code)?.name ?? code})`,
            )
            .join(' and '),
    // A loss is negated in the search, so that higher is better whatever the criterion.
    higherIsBetter: true,
    devSet: corpus.dev,
    devSegments: context.splits[corpus.dev]!.length * languages.length,
    layers,
    protectedLayers: Array.from({ length: layers }, (_, i) => i).filter((i) => !open.has(i)),
    fullScore: search.fullScore,
    iterations: search.iterations.map(({ removed, candidates }) => ({
      removed,
      candidates: candidates.map(({ layer, score }) => ({ layer, score })),
    })),
  };
}

function removedBlocks({ recipe: { importance } }: Context, teacher: TestedModel): RemovedBlock[] {
  if (importance?.method !== 'middle') return [];
  const layers = readConfig(teacher.model).text.numHiddenLayers;
  return [{ name: 'The block in the middle', layers: middleBlock(layers, importance) }];
}

function examples(
  context: Context,
  teacher: TestedModel,
  student: TestedModel,
): TranslationExample[] {
  const { languages, corpus } = context.recipe;
  return corpus.test.flatMap((split) =>
    languages.flatMap((language) => {
      const [a, b] = [teacher, student].map((model) => evaluationOf(model, split, language).texts);
      return context.splits[split]!.map((utterance, i) => ({
        id: utterance.id,
        language,
        testSet: split,
        source: utterance.text,
        reference: utterance.translations[language]!,
        teacher: a![i]!,
        student: b![i]!,
      }));
    }),
  );
}

function protocol(context: Context): Protocol {
  const { corpus, evaluate, importance } = context.recipe;
  const segments = (split: string): number => context.splits[split]!.length;
  const searched = importance !== undefined && importance.method !== 'middle';
  return {
    splits: [
      {
        name: corpus.train,
        segments: segments(corpus.train),
        use: 'training, and the constant answer',
        selects: false,
      },
      {
        name: corpus.dev,
        segments: segments(corpus.dev),
        use: searched ? 'choosing the layers' : 'nothing',
        selects: searched,
      },
      ...(context.extra?.parts ?? []).map(({ name, segments, leftOut }) => ({
        name,
        segments,
        use: `training the student; ${leftOut} left out, whose sentence is in dev or test`,
        selects: false,
      })),
      ...corpus.test.map((name) => ({
        name,
        segments: segments(name),
        use: 'reported scores, one run a model',
        selects: false,
      })),
    ],
    bootstrap: evaluate,
  };
}

function packageVersion(): string {
  const manifest = readFileSync(join(__dirname, '../../package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
