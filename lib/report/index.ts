/** The report of a run, a self-contained HTML page and a table for the terminal; tables of comparisons; its plots one by one. */
export { renderReport } from './html';
export { type ComparisonFormat, comparisonFormats, renderComparison } from './comparison';
export {
  compareRuns,
  renderRuns,
  type ComparisonRow,
  type NamedReport,
} from './comparison-of-runs';
export { renderTable } from './table';
export {
  importanceFigure,
  tradeOffFigure,
  trainingFigure,
  type FoundLayers,
  type SearchLabels,
  type TradeOffOptions,
} from './figures';
export type * from './types';
