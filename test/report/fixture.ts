import type {
  CurvePoint,
  ImportanceIteration,
  ImportanceSearch,
  ReportData,
  TrainingCurve,
  TranslationExample,
} from '../../lib/report';
import { constantAnswers, generator, models, round } from './fixture-models';

function search(name: string, criterion: string, seed: number): ImportanceSearch {
  const random = generator(seed);
  const layers = 12;
  const harm = Array.from({ length: layers }, (_, i) => 0.4 + 9 * random() * (i < 4 ? 3 : 1));
  const iterations: ImportanceIteration[] = [];
  const gone = new Set<number>([0, layers - 1]);
  let score = 96.2;
  for (let i = 0; i < 6; i++) {
    const candidates = harm.flatMap((damage, layer) =>
      gone.has(layer)
        ? []
        : [{ layer, score: round(Math.max(3, score - damage * (1 + i * 0.3)), 3) }],
    );
    const best = candidates.reduce((a, b) => (b.score > a.score ? b : a));
    iterations.push({ removed: best.layer, candidates });
    gone.add(best.layer);
    score = best.score;
  }
  return {
    name,
    criterion,
    higherIsBetter: true,
    devSet: 'dev',
    devSegments: 120,
    layers,
    protectedLayers: [0, layers - 1],
    fullScore: 96.2,
    iterations,
  };
}

/** Logged steps, each a point of its own. */
export function loggedPoints(values: readonly number[], firstStep: number = 1): CurvePoint[] {
  return values.map((value, i) => ({
    step: firstStep + i,
    steps: 1,
    mean: value,
    low: value,
    high: value,
  }));
}

function curve(
  stage: string,
  steps: number,
  from: number,
  to: number,
  peak: number,
): TrainingCurve {
  const random = generator(steps);
  const loss = (step: number): number => to + (from - to) * Math.exp((-6 * step) / steps);
  const each = (value: (i: number) => number): number[] =>
    Array.from({ length: steps }, (_, i) => value(i));
  return {
    stage,
    steps,
    losses: [
      {
        kind: 'loss',
        points: loggedPoints(each((i) => round(loss(i) * (0.8 + random() * 0.4), 5))),
      },
    ],
    learningRate: loggedPoints(each((i) => peak * 0.5 * (1 + Math.cos((Math.PI * i) / steps)))),
    validation: Array.from({ length: 8 }, (_, i) => {
      const step = Math.round(((i + 1) * steps) / 8);
      return { step, loss: round(loss(step) * 1.12 + 0.01, 5) };
    }),
  };
}

/** Like the demo's teacher: CTC alone at first, then the translation beside it. */
function curveOfParts(): TrainingCurve {
  const whole = curve('teacher', 4200, 50, 0.25, 1e-3);
  const part = curve('teacher', 2800, 6.5, 0.08, 1e-3);
  const from = 1400;
  const later = part.losses[0]!.points.map((point) => ({ ...point, step: point.step + from }));
  return {
    ...whole,
    losses: [
      { kind: 'translation', points: later },
      { kind: 'ctc', points: whole.losses[0]!.points },
    ],
    validation: [],
  };
}

function examples(): TranslationExample[] {
  const texts: [string, string, string, string, string, string][] = [
    [
      'de',
      'on Monday the third of May at a quarter past four',
      'am Montag, 3. Mai um 16:15 Uhr',
      'am Montag, 3. Mai um 16:15 Uhr',
      'am Montag, 3. Mai um 16:15 Uhr',
      'test',
    ],
    [
      'de',
      'twelve kilometers per hour',
      '12 Kilometer pro Stunde',
      '12 Kilometer pro Stunde',
      '20 Kilometer pro Stunde',
      'test',
    ],
    ['de', 'in three weeks', 'in 3 Wochen', 'in 3 Wochen', 'in drei Wochen', 'test-voices'],
    ['de', 'four thousand two hundred euros', '4.200 Euro', '4.200 Euro', '4.200 Euro', 'test'],
    [
      'de',
      'Thursday, August first, two thousand and eight',
      'Donnerstag, 1. August 2008',
      'Donnerstag, 1. August 2018',
      'Donnerstag, 1. August 2018',
      'test-voices',
    ],
    [
      'zh',
      'on Monday the third of May at a quarter past four',
      '5月3日星期一下午4:15',
      '5月3日星期一下午4:15',
      '5月3日星期一下午4:15',
      'test',
    ],
    ['zh', 'twelve kilometers per hour', '每小时12公里', '每小时12公里', '每小时20公里', 'test'],
    ['zh', 'in three weeks', '3周后', '3周后', '周后', 'test-voices'],
    ['zh', 'four thousand two hundred euros', '4,200欧元', '4,200欧元', '4,200欧元', 'test'],
  ];
  return texts.map(([language, source, reference, teacher, student, testSet], i) => ({
    id: `utt-${String(i + 1).padStart(4, '0')}`,
    language,
    testSet,
    source,
    reference,
    teacher,
    student,
  }));
}

/** A run like the demo's: 12 decoder layers, 6 removed, NF4 and an adapter. */
export function makeReportData(): ReportData {
  return {
    title: 'Demo: half the layers, in 4 bits',
    date: '2026-03-14T09:26:53Z',
    recipe: {
      name: 'demo',
      yaml: `# pare run recipes/demo.yaml
name: demo
seed: 17
corpus: { path: data/demo, languages: [de, zh] }
importance:
  criterion: chrf++   # of the dev set
  remove: 6
heal: { epochs: 2, learningRate: 5.0e-4 }
qlora: { r: 64, alpha: 128, rankStabilised: true, dropout: 0 }
`,
    },
    versions: {
      pare: '0.1.0',
      node: 'v20.20.2',
      libtorch: '2.13.0+cpu',
      cpu: 'AMD EPYC 7B13, 2 cores',
      platform: 'linux x64',
    },
    stages: [
      { name: 'teacher', seconds: 12_412.5, reused: true },
      { name: 'importance', seconds: 187.2, reused: false },
      { name: 'prune', seconds: 0.4, reused: false },
      { name: 'distill', seconds: 41, reused: false },
      { name: 'heal', seconds: 163.9, reused: false },
      { name: 'QLoRA', seconds: 96.1, reused: false },
      { name: 'evaluate', seconds: 72.8, reused: false },
    ],
    languages: [
      { code: 'de', name: 'German' },
      { code: 'zh', name: 'Chinese' },
    ],
    testSets: [
      { id: 'test', name: 'unseen combinations' },
      { id: 'test-voices', name: 'unseen voices' },
    ],
    models: models(),
    constantAnswers: constantAnswers(),
    importance: [search('German', 'chrF++', 11), search('Chinese', 'chrF', 23)],
    curves: [
      curveOfParts(),
      curve('healing', 380, 2.1, 0.07, 5e-4),
      curve('QLoRA', 190, 0.22, 0.06, 2e-4),
    ],
    examples: examples(),
    protocol: {
      splits: [
        {
          name: 'train',
          segments: 3986,
          use: 'teacher, healing, QLoRA, distillation',
          selects: false,
        },
        { name: 'dev', segments: 120, use: 'choosing the layers; early stopping', selects: true },
        { name: 'test', segments: 200, use: 'the scores above, once a model', selects: false },
        {
          name: 'test-voices',
          segments: 200,
          use: 'the scores above, once a model',
          selects: false,
        },
      ],
      bootstrap: { samples: 1000, seed: 12345 },
    },
  };
}

/** The same, writable. */
export type Editable<T> = { -readonly [K in keyof T]: Editable<T[K]> };

/** The fixture with something changed. */
export function changed(change: (copy: Editable<ReportData>) => void): ReportData {
  const copy = makeReportData() as Editable<ReportData>;
  change(copy);
  return copy;
}
