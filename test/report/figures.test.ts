import {
  importanceFigure,
  renderReport,
  tradeOffFigure,
  trainingFigure,
  type ReportData,
} from '../../lib/report';
import { parseDocument, type Document } from './dom';
import { makeReportData } from './fixture';

const data: ReportData = makeReportData();

/** As on the page of a notebook, among others. */
function inline(...documents: readonly string[]): Document {
  return parseDocument(`<!doctype html><html><body>${documents.join('')}</body></html>`);
}

const all = (): Record<string, string> => ({
  importance: importanceFigure(data.importance[0]!),
  training: trainingFigure(data.curves),
  'trade-off': tradeOffFigure(data),
});

describe.each(Object.keys(all()))('the figure of %s', (name) => {
  const svg = all()[name]!;

  test('is an SVG document of its own: nothing of a page, no variable of CSS, no reference out', () => {
    expect(svg).toMatch(/^<svg\s+xmlns="http:\/\/www.w3.org\/2000\/svg"/);
    expect(svg).not.toMatch(/<figure|<html|var\(|undefined|NaN|href|<script/);
    const [, width, height] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg)!;
    expect(Number(width)).toBeGreaterThan(500);
    expect(Number(height)).toBeGreaterThan(200);
  });

  test('has no rule that reaches beyond it', () => {
    const css = /<style>([\s\S]*?)<\/style>/.exec(svg)![1]!;
    const selectors = [...css.matchAll(/([^{}]+)\{/g)].flatMap(([, list]) => list!.split(','));
    expect(selectors.length).toBeGreaterThan(20);
    for (const one of selectors) expect(one.trim()).toMatch(/^svg\.pare-figure( |$)/);
  });

  test('is drawn as in the report', () => {
    const shapes = (document: Document): string[] =>
      [...document.querySelectorAll('svg.chart')].map((chart) =>
        [...chart.querySelectorAll('rect, path, circle, line, text')]
          .map((shape) => ['x', 'y', 'd', 'cx', 'cy', 'class'].map((a) => shape.getAttribute(a)))
          .join(';'),
      );
    const page = shapes(parseDocument(renderReport(data)));
    const drawn = shapes(inline(svg));
    expect(drawn.length).toBeGreaterThan(0);
    for (const one of drawn) expect(page).toContain(one);
  });
});

test('figures that share a page share no id unless they are the same', () => {
  const ids = [...inline(...Object.values(all())).querySelectorAll('[id]')].map(({ id }) => id);
  expect(ids.length).toBeGreaterThan(5);
  expect(new Set(ids).size).toBe(ids.length);
});

test('a search that has no report yet is drawn with the layers that were never tried as protected', () => {
  const candidates = [1, 2, 4].map((layer) => ({ layer, score: 10 * layer }));
  const svg = importanceFigure(
    {
      kept: [0, 1, 2, 3, 5],
      removed: [4],
      fullScore: 50,
      iterations: [{ removed: 4, candidates }],
    },
    { name: 'German <x>', criterion: 'chrF++' },
  );
  const titles = [...inline(svg).querySelectorAll('g > title')].map(({ textContent }) =>
    textContent.replace(/\s+/g, ' ').trim(),
  );
  expect(titles).toEqual([
    'iteration 1, layer 0: protected',
    'iteration 1, layer 1: chrF++ 10.000 without it',
    'iteration 1, layer 2: chrF++ 20.000 without it',
    'iteration 1, layer 3: protected',
    'iteration 1, layer 4: chrF++ 40.000 without it: removed',
    'iteration 1, layer 5: protected',
  ]);
  expect(svg).toContain('German &lt;x&gt;');
});

test('a trade-off is of the languages, the metric and the test set asked for', () => {
  const titles = (svg: string): string[] =>
    [...inline(svg).querySelectorAll('text.title')].map(({ textContent }) => textContent);
  expect(titles(tradeOffFigure(data))).toHaveLength(data.languages.length);
  const [first] = data.languages;
  const one = tradeOffFigure(data, { languages: [first!.code], metric: 'bleu' });
  expect(titles(one)).toEqual([`BLEU, ${first!.name}`]);
  expect(titles(tradeOffFigure(data, { testSet: 'none' }))).toEqual([]);
});
