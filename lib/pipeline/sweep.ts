/** Several runs of one recipe that share what they can, and their comparison. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileError, removeTemporaries, writeFileAtomic } from '../files';
import { takeDevice } from './device';
import { compareRuns, renderRuns, renderReport, type ReportData } from '../report';
import { leaderFirst, leads } from '../ranks';
import type { RunOptions } from './context';
import { FitCheck } from './fit-check';
import { readPoints, type PointOptions, type SweepPoint } from './points';
import { RunFolder } from './run-folder';
import { inRunFolder, runIn, type RunResult } from './run';

/** Which runs, and what each does beside its recipe. */
export interface SweepOptions extends RunOptions, PointOptions {
  /** Hears which run begins. */
  onRun?: (name: string, index: number, total: number) => void;
}

/** What the runs leave, and their comparison. */
export interface SweepResult {
  /** The folder with a run folder for each of the runs. */
  dir: string;
  runs: { name: string; result: RunResult }[];
  /** Every run's student beside the teacher. */
  report: ReportData;
  /** Path of the HTML page; sweep.json and sweep.md lie beside it. */
  reportPath: string;
}

/**
 * Follows a recipe once for each of its variants and of the values of a sweep. Each run has a folder
 * in the recipe's output; a stage that another run there has made with the same settings is taken.
 * @throws PlanError before any work where memory or disk will not do for one of them; PareError of
 * the room that failed, in one line
 */
export async function runSweep(file: string, options: SweepOptions): Promise<SweepResult> {
  const points = readPoints(file, options);
  await takeDevice(options);
  const { recipe } = points[0]!;
  const fits: (FitCheck | undefined)[] = [];
  for (const point of points) fits.push(await FitCheck.of(file, point.recipe, options));
  return inRunFolder(recipe.name, recipe.output, options, (root) =>
    followPoints(file, root, points, fits, options),
  );
}

async function followPoints(
  file: string,
  root: RunFolder,
  points: readonly SweepPoint[],
  fits: readonly (FitCheck | undefined)[],
  options: SweepOptions,
): Promise<SweepResult> {
  const { ranks } = options;
  if (leads(ranks)) removeTemporaries(root.dir);
  const runs: SweepResult['runs'] = [];
  for (const [i, { name, recipe, yaml }] of points.entries()) {
    options.onRun?.(name, i, points.length);
    const dir = join(root.dir, name);
    const open = (): RunFolder => new RunFolder(dir, recipe.name, neighbours(root.dir, dir));
    const folder = await leaderFirst(ranks, open);
    const titled = { ...recipe, title: `${recipe.title ?? recipe.name} (${name})` };
    const tensorboard = options.tensorboard && join(options.tensorboard, name);
    const own = { ...options, tensorboard };
    runs.push({ name, result: await runIn(folder, file, titled, yaml, own, fits[i]) });
  }
  const title = points[0]!.recipe.title ?? root.recipeName;
  const reports = runs.map(({ name, result }) => ({ name, report: result.report }));
  const report = compareRuns(title, reports);
  const reportPath = join(root.dir, 'sweep.html');
  if (leads(ranks)) {
    const { markdown, json } = renderRuns(report);
    writeFileAtomic(join(root.dir, 'sweep.json'), `${JSON.stringify(json, null, 1)}\n`);
    writeFileAtomic(join(root.dir, 'sweep.md'), markdown);
    writeFileAtomic(reportPath, renderReport(report));
  }
  return { dir: root.dir, runs, report, reportPath };
}

/** Run folders whose artifacts may be taken: that of the recipe itself, and those of other runs. */
function neighbours(root: string, own: string): string[] {
  try {
    const below = readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
      .map((entry) => join(root, entry.name));
    return [root, ...below.filter((dir) => dir !== own)];
  } catch (error) {
    throw fileError('read', root, error);
  }
}
