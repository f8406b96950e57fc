/** The report of a run: a self-contained HTML page and a table for the terminal. */
export { renderReport } from './html';
export { renderTable } from './table';
export type * from './types';
