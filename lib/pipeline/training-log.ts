import { join } from 'node:path';
import { JsonLines } from '../train/log';
import type { TrainingLogEntry } from '../train/loop';
import type { Context } from './context';
import type { Artifact } from './run-folder';

/** The log of a training stage, in its artifact. */
export const logFile = 'log.jsonl';

export function logPath(artifact: Artifact): string {
  return join(artifact.dir, logFile);
}

/**
 * Writes each step to a log and reports progress. Steps that a resumed run repeats are not written
 * twice: the state on disk may be some steps older than the log.
 */
export function trainingLog(
  context: Context,
  label: string,
  path: string,
): (entry: TrainingLogEntry) => void {
  const log = new JsonLines<TrainingLogEntry>(path);
  let last = log.read().at(-1)?.step ?? 0;
  return (entry) => {
    if (entry.step > last) {
      log.append(entry);
      last = entry.step;
    }
    const { step, steps, loss } = entry;
    context.options.onProgress?.({
      label,
      done: step,
      total: steps,
      note: `loss ${loss.toFixed(3)}`,
    });
  };
}
