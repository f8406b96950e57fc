/**
 * Checkpoints of a training run: what a killed one needs to go on as if nothing had happened. Each
 * is a folder that appears whole, with the digests of what it holds; the last few are kept.
 */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  fileError,
  makeFolder,
  removeTemporaries,
  syncFolder,
  temporaryName,
  writeFileAtomic,
} from '../files';
import { damageIn, sealFolder, type Manifest } from '../manifest';
import { fromBytes, getRngState, noGrad, scope, setRngState, type Tensor } from '../torch';
import type { optim } from '../torch';
import { readSafetensors, writeSafetensors } from '../torch/safetensors';
import { TrainingError } from './error';
import { defaultKeep } from './retention';

export interface CheckpointOptions {
  /** The folder of the checkpoints; it holds nothing else. */
  dir: string;
  /** Steps between two checkpoints; there is one at the end, too, and where a run is aborted. */
  everySteps: number;
  /** Checkpoints that are kept, the last ones; {@link defaultKeep} unless given. */
  keep?: number;
  /** Of everything that must be the same for a resume: recipe, corpus, code version. */
  fingerprint: string;
}

const stateFile = 'state.safetensors';
const manifestFile = 'manifest.json';

/**
 * Writes parameters, optimiser, libtorch's random numbers and the steps done, then drops what is
 * older than the checkpoints that are kept. All else (batches, augmentation, learning rate) depends
 * on the step alone.
 * @throws FileError; nothing is left behind
 */
export async function saveCheckpoint(
  { dir, keep = defaultKeep, fingerprint }: CheckpointOptions,
  parameters: ReadonlyMap<string, Tensor>,
  optimizer: optim.Optimizer,
  step: number,
): Promise<void> {
  const path = join(dir, `checkpoint-${step}`);
  const half = temporaryName(path);
  try {
    makeFolder(half);
    scope(() => {
      const rng = getRngState();
      const tensors = new Map<string, Tensor>([['rng', fromBytes(rng, 'uint8', [rng.length])]]);
      for (const [name, value] of parameters) tensors.set(`parameter.${name}`, value.detach());
      for (const [name, value] of optimizer.stateDict()) tensors.set(`optimizer.${name}`, value);
      writeSafetensors(join(half, stateFile), tensors, { step: String(step), fingerprint });
    });
    const files = await sealFolder(half);
    writeFileAtomic(join(half, manifestFile), `${JSON.stringify({ files })}\n`);
    syncFolder(half);
    // Only one that is damaged can have the same name.
    rmSync(path, { recursive: true, force: true });
    renameSync(half, path);
    syncFolder(dir);
    for (const old of checkpointsIn(dir).slice(keep)) rmSync(old.path, { recursive: true });
  } catch (error) {
    rmSync(half, { recursive: true, force: true });
    throw (error as NodeJS.ErrnoException).code === undefined
      ? error
      : fileError('write', path, error);
  }
}

/**
 * Restores the last checkpoint that is as it was written.
 * @param onDamage hears, in one line, of each later one that is not, and was removed
 * @returns the number of steps done; 0 if there is no checkpoint
 * @throws TrainingError if it is of another run, or if every checkpoint is damaged
 */
export async function loadCheckpoint(
  { dir, fingerprint }: CheckpointOptions,
  parameters: ReadonlyMap<string, Tensor>,
  optimizer: optim.Optimizer,
  onDamage: (message: string) => void,
): Promise<number> {
  if (!existsSync(dir)) return 0;
  removeTemporaries(dir);
  const damaged: { path: string; what: string }[] = [];
  for (const { path, step } of checkpointsIn(dir)) {
    const damage = await damageOf(path);
    if (damage !== undefined) {
      damaged.push({ path, what: `the checkpoint ${path} is damaged (${damage})` });
      continue;
    }
    restore(join(path, stateFile), fingerprint, parameters, optimizer);
    for (const { path, what } of damaged) {
      onDamage(`${what} and was removed; the one before it is used, of step ${step}`);
      // It would be counted among those that are kept.
      rmSync(path, { recursive: true });
    }
    return step;
  }
  if (damaged.length === 0) return 0;
  throw new TrainingError(
    `${damaged.map(({ what }) => what).join('; ')}; no other is left: bring one back from a copy, or remove ${dir} to ` +
      'train from the beginning',
  );
}

/** The checkpoints of a folder, the last one first. */
function checkpointsIn(dir: string): { path: string; step: number }[] {
  return readdirSync(dir)
    .map((name) => ({ path: join(dir, name), step: /^checkpoint-(\d+)$/.exec(name)?.[1] }))
    .flatMap(({ path, step }) => (step === undefined ? [] : [{ path, step: Number(step) }]))
    .sort((a, b) => b.step - a.step);
}

async function damageOf(path: string): Promise<string | undefined> {
  let files: Manifest | undefined;
  try {
    const text = readFileSync(join(path, manifestFile), 'utf8');
    ({ files } = JSON.parse(text) as { files?: Manifest });
    if (files?.[stateFile] === undefined) return `${manifestFile} does not say what it holds`;
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return `${manifestFile} ${missing ? 'is missing' : 'cannot be read'}`;
  }
  return damageIn(path, files);
}

function restore(
  path: string,
  fingerprint: string,
  parameters: ReadonlyMap<string, Tensor>,
  optimizer: optim.Optimizer,
): void {
  const saved = readSafetensors(path);
  try {
    if (saved.metadata.fingerprint !== fingerprint) {
      throw new TrainingError(
        `${path} is the state of a run with other settings; remove its folder to start anew`,
      );
    }
    for (const [name, { shape }] of parameters) {
      const { shape: saves } = saved.info(`parameter.${name}`);
      if (saves.join() === shape.join()) continue;
      throw new TrainingError(
        `${path}: ${name} has shape [${saves}], the model's has [${shape}]; ` +
          'remove its folder to start anew',
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
  } finally {
    saved.close();
  }
}
