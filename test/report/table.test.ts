import * as fc from 'fast-check';
import { renderTable } from '../../lib/report';
import { displayWidth } from '../../lib/report/table';
import { makeReportData } from './fixture';

const data = makeReportData();
const lines = renderTable(data).split('\n');

/** The line of a quantity within the block that starts with `heading`. */
function line(name: string, heading = ''): string {
  const from = lines.findIndex((text) => text.startsWith(heading));
  const found = lines.slice(from).find((text) => text.trimStart().startsWith(name));
  return found?.replace(/\s+/g, ' ').trim() ?? '';
}

test('sizes of teacher and student, and their ratio', () => {
  expect(line('decoder layers')).toBe('decoder layers 12 6 50.0 %');
  expect(line('logical parameters')).toBe('logical parameters 3,695,232 2,679,168 72.5 %');
  expect(line('stored elements')).toBe('stored elements 3,695,232 1,601,728 43.3 %');
  expect(line('bytes on disk')).toBe(
    'bytes on disk 7,390,464 (7.39 MB) 2,424,157 (2.42 MB) 32.8 %',
  );
});

test('for each language and test set every metric, retention with its interval, speed', () => {
  const teacher = data.models[0]!;
  const student = data.models.at(-1)!;
  for (const { code, name } of data.languages) {
    for (const testSet of data.testSets) {
      const heading = `${name}, ${testSet.name} (${testSet.id}, 200 segments)`;
      expect(lines).toContain(heading);
      const [a, b] = [teacher, student].map(({ evaluations }) =>
        evaluations.find((e) => e.language === code && e.testSet === testSet.id)!,
      );
      const labels = {
        bleu: 'BLEU',
        chrf: 'chrF ',
        'chrf++': 'chrF++',
        exact_match: 'exact match, %',
      };
      for (const [metric, label] of Object.entries(labels)) {
        const key = metric as keyof typeof labels;
        const [x, y] = [a!.scores[key]!, b!.scores[key]!];
        const bounds = (i: { low: number; high: number }, by: number): string =>
          `[${(i.low * by).toFixed(1)}, ${(i.high * by).toFixed(1)}]`;
        const kept = y.versusTeacher!;
        expect(line(label, heading)).toBe(
          [
            label.trim(),
            x.value.toFixed(1),
            bounds(x.interval!, 1),
            y.value.toFixed(1),
            bounds(y.interval!, 1),
            `${(kept.retention! * 100).toFixed(1)} %`,
            bounds(kept.interval!, 100),
            `p = ${kept.pValue!.toFixed(3)}`,
          ].join(' '),
        );
      }
      expect(line('tokens per second', heading)).toBe(
        `tokens per second ${a!.tokensPerSecond!.toFixed(1)} ${b!.tokensPerSecond!.toFixed(1)} –`,
      );
    }
  }
});

test('columns are aligned to the right and fit 120 columns', () => {
  for (const text of lines) expect(displayWidth(text)).toBeLessThanOrEqual(120);
  const rows = lines.filter((text) => /^ {2}(BLEU|chrF|exact)/.test(text));
  expect(rows).toHaveLength(16);
  for (const text of rows) expect(displayWidth(text)).toBe(120);
});

test('wide characters count as two columns', () => {
  expect(displayWidth('abc')).toBe(3);
  expect(displayWidth('中文')).toBe(4);
  expect(displayWidth('ｋｇ、한')).toBe(8);
  expect(displayWidth('e\u0301')).toBe(1);
});

test('names of any script keep the columns in place', () => {
  const chinese = {
    ...data,
    models: data.models.map((model) => ({
      ...model,
      name: model.role === 'student' ? '学生模型（四位量化，十二层中的六层，蒸馏）' : model.name,
    })),
  };
  const head = renderTable(chinese).split('\n')[2]!;
  expect(displayWidth(head)).toBe(120);
  expect(head).toContain('…');
});

test('no text of the data moves the cursor or breaks the width', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      const hostile = {
        ...data,
        title: text,
        models: data.models.map((model) => ({ ...model, name: text })),
        languages: data.languages.map((language) => ({ ...language, name: text })),
      };
      const result = renderTable(hostile);
      expect(result.replace(/\n/g, '')).not.toMatch(/\p{Cc}/u);
      for (const row of result.split('\n')) expect(displayWidth(row)).toBeLessThanOrEqual(120);
      expect(result.split('\n')).toHaveLength(lines.length);
    }),
    { seed: 1, numRuns: 50 },
  );
});

test('two students give two tables; none, or no models at all, still give one', () => {
  const student = data.models.at(-1)!;
  const two = renderTable({ ...data, models: [...data.models, { ...student, name: 'other' }] });
  expect(two.match(/^decoder layers/gm)).toHaveLength(2);
  const none = renderTable({ ...data, models: data.models.slice(0, 1) });
  expect(none).toContain('no student');
  expect(none).toMatch(/decoder layers +12 +– +–/);
  expect(renderTable({ ...data, models: [], languages: [] })).toContain('no teacher');
});
