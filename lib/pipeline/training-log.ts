import { join } from 'node:path';
import { JsonLines } from '../train/log';
import type { TrainingLogEntry } from '../train/loop';
import { EventFile } from '../train/tensorboard';
import type { RunOptions } from './context';
import type { Artifact } from './run-folder';

/** The log of a training stage, in its artifact. */
export const logFile = 'log.jsonl';

export function logPath(artifact: Artifact): string {
  return join(artifact.dir, logFile);
}

/** What writes a stage's steps; disposed when the stage ends. */
export interface TrainingLog extends Disposable {
  onStep: (entry: TrainingLogEntry) => void;
}

/**
 * Writes each step to a log, and to TensorBoard where a run is asked for it, and reports progress.
 * Steps that a resumed run repeats are not written twice: the state on disk may be some steps older
 * than the log.
 */
export function trainingLog(
  context: { options: Pick<RunOptions, 'onProgress' | 'onMetrics' | 'tensorboard'> },
  label: string,
  work: string,
): TrainingLog {
  const { onProgress, onMetrics, tensorboard } = context.options;
  const log = new JsonLines<TrainingLogEntry>(join(work, logFile));
  let last = log.read().at(-1)?.step ?? 0;
  const folder = label.replaceAll(' ', '-');
  const events = tensorboard === undefined ? undefined : new EventFile(join(tensorboard, folder));
  return {
    onStep: (entry) => {
      const { step, steps, loss, ...numbers } = entry;
      if (step > last) {
        log.append(entry);
        events?.log(step, { loss, ...numbers });
        last = step;
      }
      onMetrics?.(label, entry);
      onProgress?.({ label, done: step, total: steps, note: `loss ${loss.toFixed(3)}` });
    },
    [Symbol.dispose]: () => events?.close(),
  };
}
