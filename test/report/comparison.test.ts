import type { ComparisonTable } from '../../lib/compress';
import { comparisonFormats, renderComparison } from '../../lib/report';
import { displayWidth } from '../../lib/report/table';

const hostile = 'a_b & 50% #1 {x} \\y ~ ^ $z <q> | *w* `v` [u]\n模型';
const signature = 'nrefs:1|bs:1000|seed:12345|case:mixed|version:2.6.0';

const table: ComparisonTable = {
  ...{ testSet: 'test-voices', language: 'zh', segments: 1200, test: 'bootstrap' },
  ...{ samples: 1000, trials: null, seed: 12345, confidence: 0.95, alpha: 0.05 },
  metrics: [
    { name: 'BLEU', higherIsBetter: true, signature },
    { name: 'TER', higherIsBetter: false, signature: signature.replace('mixed', 'lc') },
  ],
  systems: [
    {
      name: 'teacher',
      scores: [
        { score: 40.125, mean: 40.1, low: 38, high: 42.456, versusBaseline: null },
        { score: 51, mean: 51, low: 49, high: 53, versusBaseline: null },
      ],
    },
    {
      name: hostile,
      scores: [
        {
          ...{ score: 38.5, mean: 38.4, low: 36.1, high: 40.9 },
          versusBaseline: { delta: -1.625, pValue: 0.0311, significant: true },
        },
        {
          ...{ score: 52.25, mean: 52, low: 50, high: 54 },
          versusBaseline: { delta: 1.25, pValue: 0.2, significant: false },
        },
      ],
    },
  ],
};

test('text: a block a metric, columns under each other', () => {
  const lines = renderComparison([table], 'text').split('\n');
  expect(lines[0]).toBe('Chinese, test-voices: 1,200 segments; baseline teacher');
  expect(lines).toContain('BLEU (higher is better)');
  expect(lines).toContain('TER (lower is better)');
  const rows = lines.filter((line) => /^ {2}(teacher|a_b)/.test(line));
  expect(rows).toHaveLength(4);
  expect(new Set(rows.map((row) => displayWidth(row.slice(0, row.lastIndexOf('['))))).size).toBe(1);
  expect(rows[0]).toMatch(/ {2}40\.13 {2}\[38\.00, 42\.46\]$/);
  expect(rows[1]).toMatch(/ {2}38\.50 {2}\[36\.10, 40\.90\] +-1\.63 {2}p = 0\.031 {2}\*$/);
  expect(rows[3]).toMatch(/ {2}52\.25 {2}\[50\.00, 54\.00\] +\+1\.25 {2}p = 0\.200$/);
  expect(lines).toContain(
    '* p < 0.05: paired bootstrap, 1,000 resamples, seed 12345; [ ] 95 % interval',
  );
  expect(lines).toContain(`BLEU: ${signature}`);
});

test('Markdown: a row a system, a column a metric, names escaped', () => {
  const lines = renderComparison([table], 'markdown').split('\n');
  const rows = lines.filter((line) => line.startsWith('|'));
  // Cells end at bars that are not escaped.
  expect(rows.map((row) => row.split(/(?<!\\)\|/).length)).toEqual([5, 5, 5, 5]);
  expect(rows[0]).toBe('| System | BLEU ↑ | TER ↓ |');
  expect(rows[2]).toBe('| teacher (baseline) | 40.13 [38.00, 42.46] | 51.00 [49.00, 53.00] |');
  expect(rows[3]).toContain('a\\_b & 50% \\#1 {x} \\\\y');
  expect(rows[3]).toContain('| 38.50 [36.10, 40.90], p = 0.031 \\* |');
  expect(rows[3]).toContain('| 52.25 [50.00, 54.00], p = 0.200 |');
  expect(lines).toContain(`- BLEU: \`${signature}\``);
});

test('LaTeX: a table of booktabs with every special character escaped', () => {
  const latex = renderComparison([table], 'latex');
  const code = latex.split('\n').filter((line) => !line.startsWith('%'));
  let depth = 0;
  for (const [, brace] of code.join('\n').matchAll(/(?<!\\)([{}])/g)) {
    depth += brace === '{' ? 1 : -1;
    expect(depth).toBeGreaterThanOrEqual(0);
  }
  expect(depth).toBe(0);
  const rows = code.filter((line) => line.endsWith('\\\\'));
  expect(rows.map((row) => row.split(/(?<!\\)&/).length)).toEqual([3, 3, 3]);
  expect(rows[0]).toBe('    System & BLEU $\\uparrow$ & TER $\\downarrow$ \\\\');
  expect(rows[2]).toContain(
    'a\\_b \\& 50\\% \\#1 \\{x\\} \\textbackslash{}y \\textasciitilde{} \\textasciicircum{} \\$z',
  );
  expect(rows[2]).toContain('& 38.50$^{*}$ {\\scriptsize [36.10, 40.90], $p = 0.031$} &');
  expect(code.join('\n')).toContain('95\\,\\% bootstrap interval');
  expect(code.filter((line) => /[^\\]%/.test(line))).toEqual([]);
  expect(latex).toContain(`% BLEU: ${signature}`);
});

test('JSON is the tables themselves', () => {
  expect(JSON.parse(renderComparison([table, table], 'json'))).toEqual([table, table]);
});

test.each(comparisonFormats)('%s has every table, and says how it was made', (format) => {
  const random: ComparisonTable = {
    ...table,
    ...{ testSet: null, language: null, segments: 1, confidence: 0.995 },
    ...{ test: 'approximate-randomization', trials: 10_000, seed: 5 },
  };
  const text = renderComparison([table, random], format);
  expect(text.endsWith('\n')).toBe(true);
  if (format === 'json') return;
  expect(text).toContain('Chinese, test-voices: 1,200 segments');
  expect(text).toMatch(/(^|[^0-9,])1 segment\b/);
  expect(text).toContain('paired approximate randomisation, 10,000 trials, seed 5');
  expect(text).toMatch(/99\.5(\\,\\| )%/);
});
