/** Tables of systems compared with a baseline: for a terminal, Markdown, LaTeX and programs. */
import type { ComparisonTable } from '../compress';
import type { ComparedScore } from '../metrics';
import { findLanguage } from '../text/languages';
import { fixed, integer, pValue } from './format';
import { displayWidth } from './table';

/** What a comparison can be rendered as; LaTeX is a table for booktabs. */
export const comparisonFormats = ['text', 'markdown', 'latex', 'json'] as const;
/** One of {@link comparisonFormats}. */
export type ComparisonFormat = (typeof comparisonFormats)[number];

/** The comparison as one text that ends with a newline. */
export function renderComparison(
  tables: readonly ComparisonTable[],
  format: ComparisonFormat,
): string {
  if (format === 'json') return `${JSON.stringify(tables)}\n`;
  const render = { text, markdown, latex }[format];
  return `${tables.map((table) => render(onOneLine(table))).join('\n\n')}\n`;
}

/** Names of files may hold line breaks. */
function onOneLine(table: ComparisonTable): ComparisonTable {
  const systems = table.systems.map(({ name, scores }) => ({
    name: name.replace(/\p{Cc}+/gu, ' '),
    scores,
  }));
  return { ...table, systems };
}

/** `German, test: 200 segments` */
function heading({ testSet, language, segments }: ComparisonTable): string {
  const count = segments === 1 ? '1 segment' : `${integer(segments)} segments`;
  if (testSet === null || language === null) return count;
  return `${findLanguage(language)?.name ?? language}, ${testSet}: ${count}`;
}

/** `paired bootstrap, 1,000 resamples, seed 12345` */
function testOf({ test, samples, trials, seed }: ComparisonTable): string {
  return test === 'bootstrap'
    ? `paired bootstrap, ${integer(samples)} resamples, seed ${seed}`
    : `paired approximate randomisation, ${integer(trials)} trials, seed ${seed}`;
}

/** A share as `95 %` or `99.5 %`. */
const percentage = (share: number): string => `${Number((100 * share).toFixed(6))} %`;

const bounds = ({ low, high }: ComparedScore): string => `[${fixed(low, 2)}, ${fixed(high, 2)}]`;

function signed(delta: number): string {
  const value = fixed(delta, 2);
  return /^[-–]/.test(value) || Number(value) === 0 ? value : `+${value}`;
}

/** A block for each metric, a line for each system. */
function text(table: ComparisonTable): string {
  const { systems, metrics, alpha, confidence } = table;
  const width = Math.max(8, ...systems.map(({ name }) => displayWidth(name)));
  const pad = (name: string): string => name + ' '.repeat(width - displayWidth(name));
  const lines = [`${heading(table)}; baseline ${systems[0]!.name}`];
  for (const [m, { name, higherIsBetter }] of metrics.entries()) {
    lines.push('', `${name} (${higherIsBetter ? 'higher' : 'lower'} is better)`);
    for (const { name: system, scores } of systems) {
      const score = scores[m]!;
      const versus = score.versusBaseline;
      const cells = [
        `  ${pad(system)}`,
        fixed(score.score, 2).padStart(7),
        bounds(score).padEnd(16),
      ];
      if (versus !== null) {
        cells.push(signed(versus.delta).padStart(7), pValue(versus.pValue));
        if (versus.significant) cells.push('*');
      }
      lines.push(cells.join('  ').trimEnd());
    }
  }
  lines.push('', `* p < ${alpha}: ${testOf(table)}; [ ] ${percentage(confidence)} interval`);
  for (const { name, signature } of metrics) lines.push(`${name}: ${signature}`);
  return lines.join('\n');
}

/** A row for each system, a column for each metric. */
function markdown(table: ComparisonTable): string {
  const { systems, metrics, alpha, confidence } = table;
  const escape = (name: string): string => name.replace(/[\\`*_[\]<>|#]/g, '\\$&');
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const cell = (score: ComparedScore): string => {
    const versus = score.versusBaseline;
    const interval = `${fixed(score.score, 2)} ${bounds(score)}`;
    if (versus === null) return interval;
    return `${interval}, ${pValue(versus.pValue)}${versus.significant ? ' \\*' : ''}`;
  };
  return [
    `**${heading(table)}**`,
    '',
    row(['System', ...metrics.map(({ name, higherIsBetter: up }) => `${name} ${up ? '↑' : '↓'}`)]),
    row(['---', ...metrics.map(() => '---:')]),
    ...systems.map(({ name, scores }, s) =>
      row([`${escape(name)}${s === 0 ? ' (baseline)' : ''}`, ...scores.map(cell)]),
    ),
    '',
    `\\* p < ${alpha} against the baseline: ${testOf(table)}. Brackets: ${percentage(confidence)} interval.`,
    '',
    ...metrics.map(({ name, signature }) => `- ${name}: \`${signature}\``),
  ].join('\n');
}

const latexCharacters: Readonly<Record<string, string>> = {
  '\\': '\\textbackslash{}',
  '~': '\\textasciitilde{}',
  '^': '\\textasciicircum{}',
  '<': '\\textless{}',
  '>': '\\textgreater{}',
  '|': '\\textbar{}',
};

function escapeLatex(name: string): string {
  return name.replace(
    /[\\~^<>|&%$#_{}]/g,
    (character) => latexCharacters[character] ?? `\\${character}`,
  );
}

/** A floating table of the package booktabs; signatures are comments under it. */
function latex(table: ComparisonTable): string {
  const { systems, metrics, alpha, confidence } = table;
  const row = (cells: readonly string[]): string => `${cells.join(' & ')} \\\\`;
  const cell = (score: ComparedScore): string => {
    const versus = score.versusBaseline;
    const mark = versus?.significant ? '$^{*}$' : '';
    const p = versus === null ? '' : `, $${pValue(versus.pValue)}$`;
    return `${fixed(score.score, 2)}${mark} {\\scriptsize ${bounds(score)}${p}}`;
  };
  const head = metrics.map(({ name, higherIsBetter: up }) => {
    return `${escapeLatex(name)} $\\${up ? 'uparrow' : 'downarrow'}$`;
  });
  const level = escapeLatex(percentage(confidence)).replace(' ', '\\,');
  return [
    '% needs \\usepackage{booktabs}',
    '\\begin{table}',
    '  \\centering',
    `  \\caption{${escapeLatex(heading(table))}. Brackets: ${level} bootstrap interval. ` +
      `$^{*}$: $p < ${alpha}$ against ${escapeLatex(systems[0]!.name)} (${escapeLatex(testOf(table))}).}`,
    `  \\begin{tabular}{l${'r'.repeat(metrics.length)}}`,
    '    \\toprule',
    `    ${row(['System', ...head])}`,
    '    \\midrule',
    ...systems.map(({ name, scores }) => `    ${row([escapeLatex(name), ...scores.map(cell)])}`),
    '    \\bottomrule',
    '  \\end{tabular}',
    '\\end{table}',
    ...metrics.map(({ name, signature }) => `% ${name}: ${signature}`),
  ].join('\n');
}
