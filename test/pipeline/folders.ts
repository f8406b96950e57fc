/** What lies in run folders. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { ReportData } from '../../lib/report';

/** All files below a folder with a digest of each. */
export function digests(dir: string): Record<string, string> {
  const files = readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const digest = (path: string): string =>
    createHash('sha256').update(readFileSync(path)).digest('hex');
  return Object.fromEntries(files.map((path) => [relative(dir, path), digest(path)]));
}

/** The artifacts of a run folder; throws if one under its final name is not complete. */
export function artifacts(run: string): string[] {
  const names = readdirSync(run, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => entry.name);
  for (const name of names) {
    const record = JSON.parse(readFileSync(join(run, name, 'stage.json'), 'utf8')) as unknown;
    expect(record).toMatchObject({ stage: name, hash: expect.any(String) as string });
    const content = name.startsWith('evaluation-')
      ? 'evaluation.json'
      : { importance: 'importance.json', distilled: 'targets.json' }[name];
    const file = content ?? 'model/config.json';
    if (!existsSync(join(run, name, file))) throw new Error(`${name} has no ${file}`);
  }
  return names.sort();
}

/** What a run leaves beside its artifacts: work, half-written folders and files. */
export function leftovers(run: string): string[] {
  return (readdirSync(run, { recursive: true }) as string[])
    .filter((path) => /(^|\/)\.|\.tmp-/.test(path))
    .sort();
}

/** A report without what differs from run to run: times, and where the run folder was. */
export function numbers(report: ReportData): unknown {
  const { date: _date, recipe: _recipe, stages, models, ...rest } = report;
  return {
    ...rest,
    stages: stages.map(({ name }) => name),
    models: models.map((model) => ({
      ...model,
      evaluations: model.evaluations.map(({ tokensPerSecond: _speed, ...others }) => others),
    })),
  };
}
