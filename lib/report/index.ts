/** The report of a run, a self-contained HTML page and a table for the terminal; tables of comparisons. */
export { renderReport } from './html';
export { type ComparisonFormat, comparisonFormats, renderComparison } from './comparison';
export {
  compareRuns,
  renderRuns,
  type ComparisonRow,
  type NamedReport,
} from './comparison-of-runs';
export { renderTable } from './table';
export type * from './types';
