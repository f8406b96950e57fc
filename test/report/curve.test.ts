import { renderReport, type CurvePoint, type LossKind, type TrainingCurve } from '../../lib/report';
import { figure } from '../../lib/report/chart';
import { mergePoints, trainingChart } from '../../lib/report/curve';
import { parseDocument, type Document } from './dom';
import { changed, loggedPoints } from './fixture';

const noise = (i: number): number => ((i * 7919) % 101) / 100;
const values = (count: number): number[] =>
  Array.from({ length: count }, (_, i) => 1 + noise(i) + (count - i) / count);

function curveOf(
  losses: readonly (readonly [LossKind, readonly CurvePoint[]])[],
  validation: TrainingCurve['validation'] = [],
): TrainingCurve {
  return {
    stage: 'teacher',
    steps: Math.max(0, ...losses.map(([, points]) => points.length)),
    losses: losses.map(([kind, points]) => ({ kind, points })),
    learningRate: [],
    validation,
  };
}

function draw(curve: TrainingCurve): Document {
  return parseDocument(
    `<!doctype html><html><body>${figure(trainingChart(curve, 'c')!).text}</body></html>`,
  );
}

const textOf = (document: Document, selector: string): string =>
  (document.querySelector(selector)?.textContent ?? '').replace(/\s+/g, ' ').trim();
const legendOf = (document: Document): string[] =>
  [...document.querySelectorAll('line.curve + text')].map(({ textContent }) => textContent);

/** The points of a path, in pixels. */
function path(document: Document, selector: string): { x: number; y: number }[] {
  const d = document.querySelector(selector)?.getAttribute('d') ?? '';
  return [...d.matchAll(/[ML]([\d.-]+) ([\d.-]+)/g)].map(([, x, y]) => ({
    x: Number(x),
    y: Number(y),
  }));
}

describe('neighbouring steps as one point', () => {
  test('keep their number, mean, lowest and highest', () => {
    const all = values(1003);
    const merged = mergePoints(loggedPoints(all), 100);
    expect(merged.length).toBeLessThanOrEqual(100);
    expect(merged.reduce((sum, { steps }) => sum + steps, 0)).toBe(1003);
    let at = 0;
    for (const { step, steps, mean, low, high } of merged) {
      const part = all.slice(at, at + steps);
      expect(mean).toBeCloseTo(part.reduce((a, b) => a + b, 0) / steps, 10);
      expect([low, high]).toEqual([Math.min(...part), Math.max(...part)]);
      expect(step).toBeCloseTo(at + 1 + (steps - 1) / 2, 10);
      at += steps;
    }
  });

  test('tell the same when they are merged once more', () => {
    const points = loggedPoints(values(1600));
    const twice = mergePoints(mergePoints(points, 400), 100);
    const once = mergePoints(points, 100);
    expect(twice).toHaveLength(once.length);
    twice.forEach((point, i) => {
      for (const key of ['step', 'steps', 'mean', 'low', 'high'] as const) {
        expect(point[key]).toBeCloseTo(once[i]![key], 10);
      }
    });
  });

  test('are left alone where there are few', () => {
    const points = loggedPoints(values(100));
    expect(mergePoints(points, 100)).toBe(points);
    expect(mergePoints([], 100)).toEqual([]);
  });
});

describe('a curve', () => {
  test('of a log that has only a loss is one series', () => {
    const document = draw(curveOf([['loss', loggedPoints(values(50))]]));
    expect(document.querySelectorAll('path.curve.train')).toHaveLength(1);
    expect(document.querySelectorAll('path.curve.ctc')).toHaveLength(0);
    expect(legendOf(document)).toEqual(['loss']);
    expect(document.querySelectorAll('.ribbon')).toHaveLength(0);
    expect(textOf(document, 'figcaption')).toMatch(/^teacher loss .*; 50 logged steps$/);
    expect(document.body.textContent).not.toContain('logarithmic');
  });

  test('has a series and a place in the legend for each part', () => {
    const translation = loggedPoints([4, 2, 1, 0.5], 5);
    const ctc = loggedPoints([50, 40, 30, 20, 10, 5, 1, 0.25]);
    const document = draw(
      curveOf(
        [
          ['translation', translation],
          ['ctc', ctc],
        ],
        [{ step: 8, loss: 0.6 }],
      ),
    );
    expect(legendOf(document)).toEqual(['translation', 'CTC', 'dev loss']);
    expect(textOf(document, 'figcaption')).toBe(
      'teacher translation 4.00 to 0.500, CTC 50.00 to 0.250, dev loss 0.600; 8 logged steps',
    );
    // A part that begins later begins further to the right.
    const [t, c] = [path(document, 'path.curve.train'), path(document, 'path.curve.ctc')];
    expect([t.length, c.length]).toEqual([4, 8]);
    expect(t.map(({ x }) => x)).toEqual(c.slice(4).map(({ x }) => x));
    // From 0.25 to 50, halving is the same way down wherever it happens.
    expect(document.body.textContent).toContain('logarithmic');
    const down = t.slice(1).map(({ y }, i) => y - t[i]!.y);
    for (const way of down) expect(way).toBeCloseTo(down[0]!, 0);
    expect(down[0]).toBeGreaterThan(5);
  });

  test.each([
    [1, ['1']],
    [2, ['1', '2']],
    [4, ['1', '2', '3', '4']],
    [16, ['2', '4', '6', '8', '10', '12', '14', '16']],
  ])('of %d steps has no step twice on its axis', (count, steps) => {
    const document = draw(curveOf([['loss', loggedPoints(values(count))]]));
    const labels = [...document.querySelectorAll('text.tick.middle')];
    expect(labels.map(({ textContent }) => textContent)).toEqual(steps);
  });

  test('stays linear where the parts are of one size, or one is 0', () => {
    for (const ctc of [
      [3, 2, 1],
      [200, 1, 0],
    ]) {
      const document = draw(
        curveOf([
          ['translation', loggedPoints([2, 1, 0.5])],
          ['ctc', loggedPoints(ctc)],
        ]),
      );
      expect(document.body.textContent).not.toContain('logarithmic');
    }
  });

  test('has a band that holds every step, and says how many steps a point is', () => {
    const all = values(4750);
    const points = mergePoints(loggedPoints(all), 400);
    const document = draw({ ...curveOf([['loss', points]]), steps: 4750 });
    expect(textOf(document, 'figcaption')).toContain('4,750 logged steps, at most 24 to a point');
    expect(textOf(document, 'desc')).toContain('4,750 logged steps, at most 24 to a point');
    const band = path(document, 'path.ribbon');
    const drawn = path(document, 'path.curve');
    expect(band).toHaveLength(2 * drawn.length);
    // As the mean of all is on the curve, so are the extremes of all on the edge of the band.
    const tick = [...document.querySelectorAll('line.grid')].map((l) =>
      Number(l.getAttribute('y1')),
    );
    const labels = [...document.querySelectorAll('line.grid + text')].map((l) =>
      Number(l.textContent),
    );
    const slope = (tick.at(-1)! - tick[0]!) / (labels.at(-1)! - labels[0]!);
    const loss = (y: number): number => labels[0]! + (y - tick[0]!) / slope;
    const edges = band.map(({ y }) => loss(y));
    expect(Math.max(...edges)).toBeCloseTo(Math.max(...all), 1);
    expect(Math.min(...edges)).toBeCloseTo(Math.min(...all), 1);
    drawn.forEach(({ x, y }, i) => {
      expect(band[i]!.x).toBe(x);
      expect(band[i]!.y).toBeLessThan(y);
      expect(band.at(-1 - i)!.y).toBeGreaterThan(y);
    });
  });

  test('keeps the peak of a learning rate that lies between its points', () => {
    const rates = Array.from({ length: 2000 }, (_, i) => (i === 777 ? 1e-3 : 1e-4));
    const document = draw({
      ...curveOf([['loss', loggedPoints(values(2000))]]),
      learningRate: mergePoints(loggedPoints(rates)),
    });
    expect(document.body.textContent).toContain('learning rate, at most 1e-3');
  });
});

describe('the text above the figures', () => {
  const meanings = (...kinds: LossKind[]): string[] => {
    const points = loggedPoints([3, 2, 1]);
    const source = renderReport(
      changed((copy) => {
        const curve = curveOf(kinds.map((kind) => [kind, points]));
        copy.curves = [curve as (typeof copy.curves)[number]];
      }),
    );
    const items = parseDocument(source).querySelectorAll(
      'section[aria-labelledby="training"] dl > div',
    );
    return [...items].map((item) =>
      ['dt', 'dd'].map((name) => item.querySelector(name)!.textContent.trim()).join(': '),
    );
  };

  test('says what each series is, and of no other', () => {
    expect(meanings('translation', 'ctc')).toEqual([
      'translation: cross-entropy per target token',
      expect.stringMatching(/^CTC: per transcript token, before its weight/),
    ]);
    expect(meanings('translation')).toEqual(['translation: cross-entropy per target token']);
    expect(meanings('loss')).toEqual(['loss: what is minimised, as one number']);
  });
});
