import { renderReport, type ReportData } from '../../lib/report';
import { parseDocument } from './dom';
import { changed, makeReportData, type Editable } from './fixture';
import { expectSound, nestingErrors } from './sound';

const data = makeReportData();

const empty: ReportData = {
  title: 'Nothing yet',
  date: '2026-01-01T00:00:00Z',
  recipe: { name: 'none', yaml: '' },
  versions: { pare: '0', node: 'v20', libtorch: '2', cpu: 'some' },
  stages: [],
  languages: [],
  testSets: [],
  models: [],
  constantAnswers: [],
  importance: [],
  curves: [],
  examples: [],
  protocol: { splits: [], bootstrap: null },
};

describe('hostile and missing data', () => {
  test('text is never taken for markup', () => {
    const poison = `<img src=x onerror="alert(1)">&'</style></svg>\u0000`;
    const keep = new Set(['role', 'category', 'kind']);
    const poisoned = JSON.parse(
      JSON.stringify(data, (key, value: unknown) =>
        typeof value === 'string' && !keep.has(key) ? value + poison : value,
      ),
    ) as ReportData;
    const source = renderReport(poisoned);
    expect(nestingErrors(source)).toEqual([]);
    expect(source).not.toContain('\u0000');
    const result = parseDocument(source);
    expect(result.querySelectorAll('img')).toHaveLength(0);
    expect(result.querySelector('h1')?.textContent).toContain('<img src=x onerror="alert(1)">&\'');
    expect(result.querySelector('pre')?.textContent).toContain('</style></svg>');
  });

  test('a report of nothing is still a report', () => {
    const source = renderReport(empty);
    expectSound(source);
    expect(parseDocument(source).querySelectorAll('h2')).toHaveLength(0);
  });

  const lists = [
    'stages',
    'languages',
    'testSets',
    'models',
    'constantAnswers',
    'importance',
  ] as const;
  test.each([...lists, 'curves', 'examples'] as const)('no %s', (list) => {
    expectSound(renderReport({ ...data, [list]: [] }));
  });

  test.each<[string, (copy: Editable<ReportData>) => void]>([
    ['no teacher', (copy) => copy.models.shift()],
    ['the teacher alone', (copy) => copy.models.splice(1)],
    ['no evaluations', (copy) => copy.models.forEach((model) => (model.evaluations = []))],
    [
      'no scores',
      (copy) => copy.models.forEach((m) => m.evaluations.forEach((e) => (e.scores = {}))),
    ],
    ['no splits', (copy) => (copy.protocol.splits = [])],
    ['an unfinished search', (copy) => (copy.importance[0]!.iterations = [])],
    ['one point of a curve', (copy) => copy.curves[0]!.losses[0]!.points.splice(1)],
    [
      'an empty curve',
      (copy) =>
        (copy.curves[0] = { stage: 'x', steps: 0, losses: [], learningRate: [], validation: [] }),
    ],
    ['a part of no points', (copy) => (copy.curves[0]!.losses[0]!.points = [])],
    ['a loss of 0 beside a part', (copy) => (copy.curves[0]!.losses[1]!.points[9]!.low = 0)],
    ['no losses but the dev loss', (copy) => (copy.curves[1]!.losses = [])],
    ['no learning rate', (copy) => (copy.curves[0]!.learningRate = [])],
    ['a model of no bytes', (copy) => copy.models.forEach((m) => (m.size.bytes = 0))],
    ['NaN', (copy) => (copy.models[1]!.evaluations[0]!.scores.chrf!.value = NaN)],
    [
      'null for a NaN that went through JSON',
      (copy) => {
        Object.assign(copy.models[1]!.evaluations[0]!.scores.chrf!, { value: null });
        Object.assign(copy.curves[0]!.losses[0]!.points[3]!, { mean: null, low: null, high: null });
      },
    ],
    ['no interval', (copy) => (copy.models[1]!.evaluations[0]!.scores.chrf!.interval = null)],
    [
      'NaN in an interval',
      (copy) => (copy.models[1]!.evaluations[0]!.scores.chrf!.interval!.low = NaN),
    ],
    [
      'no score of a layer',
      (copy) => (copy.importance[0]!.iterations[0]!.candidates[2]!.score = NaN),
    ],
    ['a constant answer of NaN', (copy) => (copy.constantAnswers[0]!.scores.chrf!.value = NaN)],
    ['an infinite loss', (copy) => (copy.curves[0]!.losses[0]!.points[7]!.mean = Infinity)],
  ])('%s', (_, change) => {
    expectSound(renderReport(changed(change)));
  });

  test('a score that is not known is a dash, never 0', () => {
    const source = renderReport(
      changed((copy) => {
        for (const model of copy.models) {
          for (const evaluation of model.evaluations) {
            Object.assign(evaluation.scores.chrf!, { value: null });
          }
        }
      }),
    );
    const cells = [...parseDocument(source).querySelectorAll('table.results tbody tr.step td')];
    // layers, parameters, elements, bytes, BLEU, chrF, chrF++, exact match, speed
    const chrf = cells.filter((_, i) => i % 9 === 5);
    expect(chrf).toHaveLength(4 * 4);
    for (const cell of chrf) expect(cell.querySelector('.value')?.textContent).toBe('–');
  });
});
