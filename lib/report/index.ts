/** The report of a run, a self-contained HTML page and a table for the terminal; tables of comparisons. */
export { renderReport } from './html';
export { type ComparisonFormat, comparisonFormats, renderComparison } from './comparison';
export { renderTable } from './table';
export type * from './types';
