/**
 * The report's plots one by one: SVG documents for a cell of a notebook, a file, a paper. Each brings
 * its own style, on white paper, and is not touched by, nor touches, the page around it.
 */
import { createHash } from 'node:crypto';
import type { Chart } from './chart';
import { chartRules, light } from './chart-style';
import { trainingChart } from './curve';
import { heatMap } from './heat-map';
import { html, Markup } from './markup';
import { tradeOffChart } from './trade-off';
import type {
  ImportanceIteration,
  ImportanceSearch,
  MetricName,
  ReportData,
  TrainingCurve,
} from './types';

/** What a search found, as `searchCheckpoint` and `pare importance` give it. */
export interface FoundLayers {
  readonly kept: readonly number[];
  readonly removed: readonly number[];
  readonly fullScore: number;
  readonly iterations: readonly ImportanceIteration[];
}

/** What only who searched knows. */
export interface SearchLabels {
  /** What was searched for, `German`. */
  name?: string;
  /** `chrF++`, `loss`. Default `score`. */
  criterion?: string;
}

const margin = 16;
const headHeight = 40;
const selector = 'svg.pare-figure';

/** Colours by their value: programs that draw for paper know no variables of CSS. */
const colours = new Map(
  [...light.matchAll(/(--[\w-]+): (#\w+);/g)].map(([, name, value]) => [name!, value!]),
);

const style = `
${chartRules(selector)}
${selector} { font-family: system-ui, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
${selector} text.title { font-size: 14px; font-weight: 600; }
${selector} text.note { fill: var(--quiet); }
`.replace(/var\((--[\w-]+)\)/g, (_, name: string) => colours.get(name)!);

/**
 * The search for layers as a heat map: layers across, iterations down, the darker the better the
 * model without that layer; what was removed has a frame.
 * @param search of a report (`report.importance`), or what a search alone gave
 * @returns an SVG document
 */
export function importanceFigure(
  search: ImportanceSearch | FoundLayers,
  labels: SearchLabels = {},
): string {
  const whole = 'kept' in search ? describe(search, labels) : { ...search, ...labels };
  return draw([heatMap(whole, idOf(whole))]);
}

/**
 * Losses against step, and the learning rate below, one plot under the other.
 * @param curves of a report (`report.curves`); those without a point are left out
 * @returns an SVG document
 */
export function trainingFigure(curves: readonly TrainingCurve[]): string {
  const charts = curves.map((curve) => trainingChart(curve, idOf(curve)));
  return draw(charts.filter((chart) => chart !== null));
}

/** What is drawn of a report. */
export interface TradeOffOptions {
  /** Default `chrf`. */
  metric?: MetricName;
  /** Codes; default all of the report's. */
  languages?: readonly string[];
  /** Default the report's main one. */
  testSet?: string;
}

/**
 * Quality against bytes on disk, a point with its 95 % interval for every model of a run, one plot
 * for each language.
 * @returns an SVG document
 */
export function tradeOffFigure(
  report: ReportData,
  { metric = 'chrf', languages, testSet }: TradeOffOptions = {},
): string {
  const set = report.testSets.find(({ id }) => testSet === undefined || id === testSet);
  const charts = report.languages
    .filter(({ code }) => set !== undefined && (languages?.includes(code) ?? true))
    .map((language) =>
      tradeOffChart(report, language, set!, metric, idOf([language, set, metric, report.models])),
    );
  return draw(charts.filter((chart) => chart !== null));
}

/** Layers that were never tried are those that may not go. */
function describe(found: FoundLayers, labels: SearchLabels): ImportanceSearch {
  const layers = found.kept.length + found.removed.length;
  const open = new Set(found.iterations[0]?.candidates.map(({ layer }) => layer));
  return {
    name: labels.name ?? '',
    criterion: labels.criterion ?? 'score',
    higherIsBetter: true,
    devSet: 'dev',
    devSegments: 0,
    layers,
    protectedLayers: Array.from({ length: layers }, (_, i) => i).filter((i) => !open.has(i)),
    fullScore: found.fullScore,
    iterations: found.iterations,
  };
}

/** Documents may share a page, where ids must differ; the same plot has the same id. */
function idOf(data: unknown): string {
  return `pare-${createHash('sha256').update(JSON.stringify(data)).digest('hex').slice(0, 10)}`;
}

function draw(charts: readonly Chart[]): string {
  const width = Math.max(0, ...charts.map((chart) => chart.width)) + 2 * margin;
  let top = margin;
  const parts = charts.map((chart) => {
    const y = top;
    top += headHeight + chart.height + margin;
    return html`<text class="title" x="${margin}" y="${y + 14}">${chart.title}</text
      ><text class="note" x="${margin}" y="${y + 31}">${chart.note}</text
      ><svg x="${margin}" y="${y + headHeight}" width="${chart.width}" height="${chart.height}">
        ${chart.svg}
      </svg>`;
  });
  return html`<svg
    xmlns="http://www.w3.org/2000/svg"
    class="pare-figure"
    viewBox="0 0 ${width} ${top}"
    width="${width}"
    height="${top}"
  >
    <style>
      ${new Markup(style)}
    </style>
    <rect width="100%" height="100%" fill="#ffffff" />
    ${parts}
  </svg>`.text;
}
