/** What a killed training run needs to go on as if nothing had happened, in one file. */
import { existsSync } from 'node:fs';
import { fromBytes, getRngState, noGrad, scope, setRngState, type Tensor } from '../torch';
import type { optim } from '../torch';
import { readSafetensors, writeSafetensors } from '../torch/safetensors';
import { TrainingError } from './error';

export interface StateFile {
  path: string;
  /** Of everything that must be the same for a resume: recipe, corpus, code version. */
  fingerprint: string;
}

/** Writes parameters, optimiser, random-number state and step, atomically. */
export function saveTrainingState(
  file: StateFile,
  parameters: ReadonlyMap<string, Tensor>,
  optimizer: optim.Optimizer,
  step: number,
): void {
  scope(() => {
    const rng = getRngState();
    const tensors = new Map<string, Tensor>([['rng', fromBytes(rng, 'uint8', [rng.length])]]);
    for (const [name, value] of parameters) tensors.set(`parameter.${name}`, value.detach());
    for (const [name, value] of optimizer.stateDict()) tensors.set(`optimizer.${name}`, value);
    writeSafetensors(file.path, tensors, { step: String(step), fingerprint: file.fingerprint });
  });
}

/**
 * Restores what {@link saveTrainingState} wrote.
 * @returns the number of steps done, or undefined if there is no state
 * @throws TrainingError if the state is of another run
 */
export function loadTrainingState(
  file: StateFile,
  parameters: ReadonlyMap<string, Tensor>,
  optimizer: optim.Optimizer,
): number | undefined {
  if (!existsSync(file.path)) return undefined;
  const saved = readSafetensors(file.path);
  try {
    if (saved.metadata.fingerprint !== file.fingerprint) {
      throw new TrainingError(
        `${file.path} is the state of a run with other settings; remove it to start anew`,
      );
    }
    for (const [name, { shape }] of parameters) {
      const { shape: saves } = saved.info(`parameter.${name}`);
      if (saves.join() === shape.join()) continue;
      throw new TrainingError(
        `${file.path}: ${name} has shape [${saves}], the model's has [${shape}]; ` +
          'remove the file to start anew',
      );
    }
    scope(() =>
      noGrad(() => {
        for (const [name, target] of parameters) target.copy_(saved.tensor(`parameter.${name}`));
        const names = [...optimizer.stateDict().keys()];
        optimizer.loadStateDict(new Map(names.map((n) => [n, saved.tensor(`optimizer.${n}`)])));
        setRngState(saved.tensor('rng').toBytes());
      }),
    );
    return Number(saved.metadata.step);
  } finally {
    saved.close();
  }
}
