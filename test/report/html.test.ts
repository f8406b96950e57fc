import { renderReport, type ReportData } from '../../lib/report';
import { parseDocument } from './dom';
import { changed, makeReportData } from './fixture';
import { expectSound, nestingErrors } from './sound';

const data = makeReportData();
const page = renderReport(data);
const document = parseDocument(page);
const text = (document.body.textContent ?? '').replace(/\s+/g, ' ');

describe('the document', () => {
  test('nests without error, and every reference has its target once', () => {
    expectSound(page);
    const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
    expect(new Set(ids).size).toBe(ids.length);
    const wanted = [
      ...[...document.querySelectorAll('[aria-labelledby]')].flatMap((element) =>
        (element.getAttribute('aria-labelledby') ?? '').split(' '),
      ),
      ...[...document.querySelectorAll('a')].map((a) => (a.getAttribute('href') ?? '').slice(1)),
      ...[...page.matchAll(/url\(#([^)]*)\)/g)].map(([, id]) => id ?? ''),
    ];
    expect(wanted.length).toBeGreaterThan(20);
    expect(wanted.filter((id) => !ids.includes(id))).toEqual([]);
  });

  test('the nesting check itself notices errors', () => {
    expect(nestingErrors('<p><b></p></b>')).not.toEqual([]);
    expect(nestingErrors('<p>a < b</p>')).not.toEqual([]);
    expect(nestingErrors('<div>')).not.toEqual([]);
  });

  test('needs no script and no network', () => {
    expect(document.querySelectorAll('script, link, img, iframe, object, embed')).toHaveLength(0);
    for (const element of document.querySelectorAll('*')) {
      for (const { name, value } of element.attributes) {
        expect(name).not.toMatch(/^(on|src|xlink)/);
        if (name === 'href') expect(value).toMatch(/^#/);
      }
    }
    expect(page).not.toMatch(/https?:|@import|url\((?!#)/);
  });

  test('is the same for data that went through JSON', () => {
    expect(renderReport(JSON.parse(JSON.stringify(data)) as ReportData)).toBe(page);
  });

  test('every plot has a title and a description', () => {
    const plots = [...document.querySelectorAll('svg')];
    // 8 trade-offs, 1 of bytes, 2 heat maps, 3 curves
    expect(plots).toHaveLength(14);
    for (const plot of plots) {
      expect(plot.getAttribute('role')).toBe('img');
      expect(plot.querySelector('title')?.textContent).toBeTruthy();
      expect(plot.querySelector('desc')?.textContent).toBeTruthy();
    }
  });

  test('has rules for dark, for print and for narrow screens', () => {
    const style = document.querySelector('style')?.textContent ?? '';
    expect(style).toContain('prefers-color-scheme: dark');
    expect(style).toContain('@media print');
    expect(style).toContain('max-width: 600px');
    for (const table of document.querySelectorAll('table')) {
      expect(table.closest('.scroll')).not.toBeNull();
    }
    for (const [, name] of page.matchAll(/var\((--[a-z0-9-]+)\)/g)) {
      expect(style).toContain(`${name}:`);
    }
  });
});

describe('the numbers', () => {
  const counted = (value: number): string => value.toLocaleString('en-US');
  const one = (value: number): string => value.toFixed(1);

  test('every score with interval, signature, retention and p-value', () => {
    const all = [
      ...data.models.flatMap(({ evaluations }) => evaluations),
      ...data.constantAnswers,
    ].flatMap(({ scores }) => Object.values(scores));
    expect(all).toHaveLength((6 + 1) * 4 * 4);
    for (const score of all) {
      expect(text).toContain(one(score.value));
      const { low, high } = score.interval!;
      expect(text).toContain(`[${one(low)}, ${one(high)}]`);
      expect(text).toContain(score.signature);
      const versus = score.versusTeacher;
      if (!versus) continue;
      const kept = versus.interval!;
      expect(text).toContain(
        `${one(versus.retention! * 100)} % [${one(kept.low * 100)}, ${one(kept.high * 100)}]`,
      );
      const p = versus.pValue!;
      expect(text).toContain(p < 0.001 ? 'p < 0.001' : `p = ${p.toFixed(3)}`);
    }
  });

  test('each score stands in the row of its model, under its metric', () => {
    const tables = [...document.querySelectorAll('table.results')];
    expect(tables).toHaveLength(4);
    const chinese = tables[2]!;
    const head = [...chinese.querySelectorAll('thead th')].map((th) => th.textContent);
    const column = head.indexOf('chrF++');
    const row = [...chinese.querySelectorAll('tbody tr')].find(
      (tr) => tr.querySelector('th')?.textContent === 'healed',
    );
    const healed = data.models[2]!.evaluations.find(
      (e) => e.language === 'zh' && e.testSet === 'test',
    )!;
    const cells = [...(row?.querySelectorAll('td') ?? [])];
    expect(cells).toHaveLength(head.length - 1);
    expect(cells[column - 1]?.querySelector('.value')?.textContent).toBe(
      one(healed.scores['chrf++']!.value),
    );
    expect(cells.at(-1)?.textContent).toBe(one(healed.tokensPerSecond!));
    expect(chinese.querySelectorAll('tr.constant-row td')).toHaveLength(head.length - 1);
  });

  test('sizes, their ratios to the teacher, and the bytes of every category', () => {
    const teacher = data.models[0]!.size;
    for (const { size, evaluations } of data.models) {
      expect(text).toContain(counted(size.parameters));
      expect(text).toContain(counted(size.storedElements));
      expect(text).toContain(counted(size.bytes));
      expect(text).toContain(`${one((size.parameters / teacher.parameters) * 100)} %`);
      expect(text).toContain(`${one((size.storedElements / teacher.storedElements) * 100)} %`);
      expect(text).toContain(`${one((size.bytes / teacher.bytes) * 100)} %`);
      expect(text).toContain(((size.bytes * 8) / size.parameters).toFixed(2));
      expect(text).toContain(size.storage);
      for (const { bytes } of size.bytesByCategory) expect(text).toContain(counted(bytes));
      for (const { tokensPerSecond } of evaluations) expect(text).toContain(one(tokensPerSecond!));
    }
  });

  test('every importance score, the order of removal, the size of the dev set', () => {
    for (const search of data.importance) {
      expect(text).toContain(
        `Removed, in this order: ${search.iterations.map(({ removed }) => removed).join(', ')}.`,
      );
      expect(text).toContain(`on ${search.devSegments} segments of ${search.devSet}`);
      search.iterations.forEach(({ candidates, removed }, i) => {
        for (const { layer, score } of candidates) {
          expect(text).toContain(
            `iteration ${i + 1}, layer ${layer}: ${search.criterion} ${score.toFixed(3)} without it` +
              (layer === removed ? ': removed' : ''),
          );
        }
      });
    }
  });

  test('a heat map frames one cell an iteration and greys the removed and the protected', () => {
    const map = document.querySelector('svg[aria-labelledby="heat-0-title heat-0-desc"]')!;
    const titles = [...map.querySelectorAll('g > title')].map((title) => title.textContent);
    expect(titles).toHaveLength(12 * 6);
    expect(titles.filter((title) => title?.endsWith(': removed'))).toHaveLength(6);
    expect(titles.filter((title) => title?.endsWith('already removed'))).toHaveLength(15);
    expect(titles.filter((title) => title?.endsWith('protected'))).toHaveLength(12);
    // one more of each is in the legend
    expect(map.querySelectorAll('.cell-removed')).toHaveLength(6 + 1);
    expect(map.querySelectorAll('.cell-gone')).toHaveLength(15 + 12 + 2);
  });

  test('the darkest cell is the best score, for a loss the lowest', () => {
    const darkest = (source: string): string[] => {
      const map = parseDocument(source).querySelector('svg[aria-labelledby^="heat-0"]')!;
      return [...map.querySelectorAll('g')]
        .filter((g) => g.querySelector(':scope > rect')?.getAttribute('fill-opacity') === '1.000')
        .map((g) => g.querySelector('text')?.textContent ?? '');
    };
    const scores = data.importance[0]!.iterations.flatMap(({ candidates }) =>
      candidates.map(({ score }) => score),
    );
    expect(darkest(page)).toEqual([one(Math.max(...scores))]);
    const loss = changed((copy) => {
      copy.importance[0]!.criterion = 'loss';
      copy.importance[0]!.higherIsBetter = false;
    });
    expect(darkest(renderReport(loss))).toEqual([Math.min(...scores).toFixed(2)]);
  });

  test('stages, versions, splits and the recipe', () => {
    for (const duration of ['3 h 27 min', '3 min 07 s', '0.4 s', '41 s', '9 min 21 s']) {
      expect(text).toContain(duration);
    }
    for (const version of Object.values(data.versions)) expect(text).toContain(version);
    for (const split of data.protocol.splits) {
      expect(text).toContain(split.use);
      expect(text).toContain(counted(split.segments));
    }
    expect(document.querySelector('pre code')?.textContent).toBe(data.recipe.yaml);
    expect(text).toContain(data.date);
  });

  test('the constant answer has its sentence', () => {
    expect(text).toContain(
      'Always answering “2月17日星期三”, whatever is said, matches the reference in 0.5 % of the segments',
    );
  });

  test('the tiles of several students say whose they are', () => {
    const names = (of: ReportData): string[] =>
      [...parseDocument(renderReport(of)).querySelectorAll('.tiles-name')].map(
        ({ textContent }) => textContent,
      );
    expect(names(data)).toEqual([]);
    const several = changed((copy) => {
      const student = copy.models.find(({ role }) => role === 'student')!;
      copy.models.push({ ...student, name: 'a <b>' });
    });
    expect(names(several)).toEqual([expect.any(String), 'a <b>']);
  });

  test('no label of quality against size covers a point', () => {
    // A student that is a little larger than the step before it, and as good.
    const close = changed((copy) => {
      const step = copy.models.find(({ role }) => role === 'step')!;
      copy.models = copy.models.filter((model) => model === step || model.role !== 'step');
      const student = copy.models.find(({ role }) => role === 'student')!;
      student.evaluations = step.evaluations;
      student.size.bytes = copy.models[0]!.size.bytes * 0.39;
      step.size.bytes = copy.models[0]!.size.bytes * 0.33;
    });
    const plot = parseDocument(renderReport(close)).querySelector(
      'svg[aria-labelledby^="trade-0-chrf-"]',
    )!;
    const diamond = /M([\d.]+) ([\d.]+)l/.exec(
      plot.querySelector('path.mark.student')!.getAttribute('d')!,
    )!;
    const [x, y] = [Number(diamond[1]), Number(diamond[2]) + 7];
    for (const label of plot.querySelectorAll('text.label')) {
      const at = Number(label.getAttribute('x'));
      const size = 6.2 * label.textContent.length;
      const left = label.getAttribute('class')!.includes('end') ? at - size : at;
      const level = Math.abs(Number(label.getAttribute('y')) - 4 - y) < 12;
      expect(level && left < x + 7 && x - 7 < left + size).toBe(false);
    }
  });

  test('quality against size labels every model, placed by its bytes', () => {
    const plot = document.querySelector('svg[aria-labelledby^="trade-0-chrf-"]')!;
    const labels = [...plot.querySelectorAll('text.label')].map((label) => label.textContent);
    expect([...labels].sort()).toEqual(data.models.map(({ name }) => name).sort());
    const ys = [...plot.querySelectorAll('circle')].map((c) => Number(c.getAttribute('cx')));
    const steps = data.models.filter(({ role }) => role === 'step').map(({ size }) => size.bytes);
    expect(ys).toHaveLength(steps.length);
    const ratios = ys.map((x, i) => (x - 46) / steps[i]!);
    for (const ratio of ratios) expect(ratio / ratios[0]!).toBeCloseTo(1, 2);
  });
});
