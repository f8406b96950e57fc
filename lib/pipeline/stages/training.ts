/** What all stages that train have in common. */
import { join } from 'node:path';
import type { finetune } from '../../compress';
import type { Context } from '../context';
import type { TrainingSettings } from '../recipe-schema';
import type { TrainingLog } from '../training-log';

/** Settings as `finetune` takes them, with the log and the checkpoints of a stage in its `work`. */
export function training(
  context: Context,
  log: TrainingLog,
  settings: TrainingSettings,
  work: string,
  hash: string,
): Parameters<typeof finetune>[3] {
  const { onStep, onResume, onSave } = log;
  const { signal, onWarning } = context.options;
  return {
    seed: context.recipe.seed,
    ...settings,
    ...{ onStep, onResume, onSave, signal, onWarning },
    state: {
      dir: join(work, 'checkpoints'),
      everySteps: settings.saveEvery,
      keep: settings.keep,
      fingerprint: hash,
    },
  };
}

/** The settings that the result depends on, for hashes. */
export function hashed<Settings extends Partial<TrainingSettings>>(
  settings: Settings,
): Omit<Settings, 'keep'> {
  const { keep: _, ...rest } = settings;
  return rest;
}
