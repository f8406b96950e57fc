/** The tiny Qwen2-Audio of test/oracle/model.py, its clips, and what transformers made of them. */
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { LogMel } from '../../lib/audio';
import { Linear4bit } from '../../lib/nf4';
import {
  collate,
  loadModel,
  type Batch,
  type Example,
  type Qwen2Audio,
} from '../../lib/qwen2-audio';
import { loadSafetensors, memory, nn, writeSafetensors, type Tensor } from '../../lib/torch';

export const vectorsFolder: string = join(__dirname, '../oracle/vectors');
export const tinyFolder: string = join(vectorsFolder, 'tiny-model');

/** The encoder's window in mel frames. */
export const tinyWindow = 200;
const nMels = 128;

/** What a model says to the three prompts. */
export interface Greedy {
  greedySingle: number[][];
  greedyBatch: number[][];
}

interface ModelVectors {
  prompts: number[][];
  inputFeatures: { frames: number[]; sums: number[]; audioTokens: number[] };
  maxNewTokens: number;
  removedLayers: number[];
  greedy: { full: Greedy; pruned: Greedy };
}

export function readVectors<T>(name: string): T {
  return JSON.parse(readFileSync(join(vectorsFolder, name), 'utf8')) as T;
}

export const vectors: ModelVectors = readVectors<ModelVectors>('model-vectors.json');

/** The tensors of `model-vectors` or `nf4-model-vectors`. */
export function vectorTensors(name: string = 'model-vectors'): Map<string, Tensor> {
  return loadSafetensors(join(vectorsFolder, `${name}.safetensors`));
}

/** `input_features` of model.py, with the frames of the padding left out, as the processor does. */
export function clip(index: number, frames: number): LogMel {
  const floor = -0.8125;
  const computedFrames = Math.min(tinyWindow, frames + 1);
  const data = new Float32Array(nMels * computedFrames).fill(floor);
  for (let mel = 0; mel < nMels; mel++) {
    for (let t = 0; t < frames; t++) {
      const n = 7919 * index + 31 * mel * mel + 17 * (index + 2) * mel * t + 5 * t * t;
      data[mel * computedFrames + t] = (n % 2003) / 1001.5 - 1;
    }
  }
  return { data, nMels, computedFrames, frames, floor };
}

/** The three examples of the vectors, for training with the given answers. */
export function examples(targets?: readonly (readonly number[])[]): Example[] {
  return vectors.prompts.map((prompt, row) => {
    const mel = clip(row, vectors.inputFeatures.frames[row]!);
    const target = targets?.[row];
    if (target === undefined) return { inputIds: prompt, mel };
    const labels = [...prompt.map(() => -100), ...target];
    return { inputIds: [...prompt, ...target], labels, mel };
  });
}

export function loadTiny(): Qwen2Audio {
  return loadModel(tinyFolder);
}

/** NF4 in place of every linear layer but lm_head, as `load_in_4bit` of transformers does it. */
export function quantizeLinears(model: Qwen2Audio): Qwen2Audio {
  nn.replaceModules(model, (name, module) =>
    module instanceof nn.Linear && !name.endsWith('lm_head')
      ? Linear4bit.fromLinear(module)
      : undefined,
  );
  return model;
}

export function leftPadded(model: Qwen2Audio, rows: readonly Example[] = examples()): Batch {
  return collate(model, rows, 'left');
}

/** The largest absolute difference of two tensors of one shape. */
export function difference(a: Tensor, b: Tensor): number {
  expect(a.shape).toEqual(b.shape);
  const [x, y] = [a.detach().toArray(), b.detach().toArray()];
  return x.reduce((most, value, i) => Math.max(most, Math.abs(value - y[i]!)), 0);
}

let mels: LogMel[] | undefined;

/** A clip's prompt with `target` to learn; the prompt's last `changed` tokens are others. */
export function asked(clip: number, target: number[], changed: number[] = []): Example {
  mels ??= examples().map(({ mel }) => mel); // one object a clip, by which rows are shared
  const { inputIds } = examples()[clip]!;
  const prompt = [...inputIds.slice(0, inputIds.length - changed.length), ...changed];
  return {
    mel: mels[clip]!,
    inputIds: [...prompt, ...target],
    labels: [...prompt.map(() => -100), ...target],
  };
}

/** A copy of the checkpoint to damage. */
export function copyTiny(to: string): void {
  cpSync(tinyFolder, to, { recursive: true });
}

/** Writes a checkpoint's tensors under other names; `undefined` leaves one out. */
export function rename(dir: string, nameOf: (name: string) => string | undefined): void {
  const path = join(dir, 'model.safetensors');
  const renamed = [...loadSafetensors(path)].flatMap(([name, value]) => {
    const other = nameOf(name);
    return other === undefined ? [] : [[other, value] as const];
  });
  writeSafetensors(path, renamed);
}

/** Waits until tensors that were dropped without `dispose()` are freed, so that counts stay put. */
export async function settle(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let before = NaN; before !== memory().handles;) {
    before = memory().handles;
    for (let i = 0; i < 3; i++) {
      collect();
      await setImmediate();
    }
  }
}
