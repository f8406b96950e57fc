import { join } from 'node:path';
import { warn } from '../errors';
import { JsonLines } from '../json-lines';
import { leads } from '../ranks';
import type { TrainingLogEntry } from '../train/loop';
import { EventFile } from '../train/tensorboard';
import type { RunOptions } from './context';
import type { Artifact } from './run-folder';

/** The log of a training stage, in its artifact. */
export const logFile = 'log.jsonl';

export function logPath(artifact: Artifact): string {
  return join(artifact.dir, logFile);
}

/** What writes a stage's steps, as `train` calls it; disposed when the stage ends. */
export interface TrainingLog extends Disposable {
  onStep: (entry: TrainingLogEntry) => void;
  onResume: (done: number) => void;
  onSave: () => void;
}

/** Of a rank that does not write. */
const silentLog: TrainingLog = {
  onStep: () => undefined,
  onResume: () => undefined,
  onSave: () => undefined,
  [Symbol.dispose]: () => undefined,
};

/**
 * Writes each step to a log, and to TensorBoard where a run is asked for it, and reports progress.
 * A log that is ahead of the checkpoint from which a run goes on is cut to it: the steps come again.
 */
export function trainingLog(
  context: {
    options: Pick<RunOptions, 'onProgress' | 'onMetrics' | 'onWarning' | 'ranks' | 'tensorboard'>;
  },
  label: string,
  work: string,
): TrainingLog {
  const { onProgress, onMetrics, onWarning = warn, ranks, tensorboard } = context.options;
  if (!leads(ranks)) return silentLog;
  const log = new JsonLines<TrainingLogEntry>(join(work, logFile));
  // TensorBoard's files cannot be cut: what they have, they have.
  const drawn = log.read().at(-1)?.step ?? 0;
  const folder = label.replaceAll(' ', '-');
  const events = tensorboard === undefined ? undefined : new EventFile(join(tensorboard, folder));
  return {
    onStep: (entry) => {
      const { step, steps, loss, ...numbers } = entry;
      log.append(entry);
      if (step > drawn) events?.log(step, { loss, ...numbers });
      onMetrics?.(label, entry);
      onProgress?.({ label, done: step, total: steps, note: `loss ${loss.toFixed(3)}` });
    },
    onResume: (done) => {
      log.retain(({ step }) => step <= done);
      const missing = done - log.read().length;
      if (missing > 0) onWarning(`${log.path} has lost ${missing} of the ${done} steps before`);
    },
    onSave: () => log.sync(),
    [Symbol.dispose]: () => events?.close(),
  };
}
