/** A report drawn again from its numbers, for a page that was lost or a program that draws better. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileError, writeFileAtomic } from '../files';
import { renderReport, type ReportData } from '../report';
import { RunFolderError } from './run-folder';

/**
 * Draws report.html of a run folder from its report.json.
 * @param output where the page goes; in the run folder unless given
 * @throws RunFolderError if there is no report or it is damaged, FileError
 */
export function drawReport(
  dir: string,
  output: string = join(dir, 'report.html'),
): { report: ReportData; reportPath: string } {
  const path = join(dir, 'report.json');
  if (!existsSync(path)) {
    throw new RunFolderError(`${dir} has no report.json; finish its run first: pare run`);
  }
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('read', path, error);
  }
  let report: ReportData;
  let page: string;
  try {
    report = JSON.parse(text) as ReportData;
    page = renderReport(report);
  } catch (cause) {
    throw new RunFolderError(`${path} is damaged; remove it and run the recipe again`, { cause });
  }
  writeFileAtomic(output, page);
  return { report, reportPath: output };
}
