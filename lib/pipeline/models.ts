/** Models as stages pass them on: checkpoint folders, loaded for as long as they are used. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { loadAdapter } from '../lora';
import { adapterOf, loadModel, Processor, readConfig, type Qwen2Audio } from '../qwen2-audio';
import { CompressionError } from '../compress';
import { fileError } from '../files';
import type { DType } from '../torch';
import { Features } from '../train/examples';
import { progressOf, type Context } from './context';

/** Freed by `using`, so that a stage that fails or is aborted leaves no model behind. */
export interface LoadedModel extends Disposable {
  model: Qwen2Audio;
  processor: Processor;
}

/** How a model is opened. */
export interface OpenOptions {
  /** To compute with, float32 unless given; `stored` leaves weights as they are. */
  dtype?: DType | 'stored';
  /** `cpu` unless given. */
  device?: string;
}

/** Loads a checkpoint folder with the adapter that lies in it. 4-bit weights stay packed. */
export function openModel(
  dir: string,
  { dtype = 'float32', device }: OpenOptions = {},
): LoadedModel {
  const processor = Processor.fromPretrained(dir, readConfig(dir));
  const options = { device, ...(dtype !== 'stored' && { dtype }) };
  const model = loadModel(dir, options);
  const adapterDir = adapterOf(dir);
  const adapter = adapterDir === undefined ? undefined : loadAdapter(adapterDir, model, options);
  return {
    model,
    processor,
    [Symbol.dispose]: () => {
      adapter?.dispose();
      model.dispose();
    },
  };
}

/**
 * Loads a checkpoint whose weights are about to be changed or copied.
 * @throws CompressionError if it has an adapter, which would be lost on the way
 */
export function openBase(dir: string, options?: OpenOptions): LoadedModel {
  const adapter = adapterOf(dir);
  if (adapter !== undefined) {
    throw new CompressionError(
      `${adapter} is an adapter, which pruning and training would leave behind; merge it into ` +
        'the weights first',
    );
  }
  return openModel(dir, options);
}

/** Features computed once for all models of a run, which share the processor's settings. */
export class FeatureCache {
  #features: Features | undefined;

  constructor(readonly context: Context) {}

  for(processor: Processor): Features {
    const { corpus } = this.context;
    if (this.#features === undefined) {
      const { signal } = this.context.options;
      const onProgress = progressOf(this.context, 'reading audio');
      this.#features = new Features(corpus, processor, { onProgress, signal });
    } else if (this.#features.processor.windowFrames !== processor.windowFrames) {
      throw new CompressionError('teacher and student take audio of different lengths');
    }
    return this.#features;
  }
}

/**
 * Stands for the content of a checkpoint folder, adapter included, in hashes.
 * @throws FileError if it cannot be read
 */
export function checkpointHash(dir: string): string {
  const hash = createHash('sha256');
  const adapter = adapterOf(dir);
  for (const folder of adapter === undefined ? [dir] : [dir, adapter]) {
    try {
      hashFolder(hash, folder);
    } catch (error) {
      throw fileError('read', folder, error);
    }
  }
  return hash.digest('hex').slice(0, 16);
}

function hashFolder(hash: Hash, dir: string): void {
  // Through links, which are all that a snapshot in the hub's cache has.
  const files = readdirSync(dir).filter((name) => statSync(join(dir, name)).isFile());
  // A shard has gigabytes, more than a buffer can hold.
  const part = Buffer.allocUnsafe(1 << 22);
  for (const name of files.sort()) {
    if (!/\.(safetensors|json|jinja)$/.test(name)) continue;
    hash.update(name);
    const file = openSync(join(dir, name), 'r');
    try {
      for (let size = readSync(file, part); size > 0; size = readSync(file, part)) {
        hash.update(part.subarray(0, size));
      }
    } finally {
      closeSync(file);
    }
  }
}
