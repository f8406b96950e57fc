import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileError, makeFolder, syncFolder, temporaryName, writeFileAtomic } from '../files';
import { PareError } from '../errors';
import { scope, writeSafetensors, type DType } from '../torch';
import type { LoraAdapter } from './adapter';
import { formatAdapterConfig } from './peft-config';
import { inMemoryName, tensorKey } from './peft-names';
import { targetMatcher } from './targets';

export const adapterModelFile = 'adapter_model.safetensors';
export const adapterConfigFile = 'adapter_config.json';

const qwen2Audio = {
  base_model_class: 'Qwen2AudioForConditionalGeneration',
  parent_library: 'transformers.models.qwen2_audio.modeling_qwen2_audio',
};

/** What an adapter folder says beside its weights, and how it stores them. */
export interface SaveAdapterOptions {
  /** Of the model that the adapter belongs to; PEFT's `base_model_name_or_path`. */
  baseModelNameOrPath?: string;
  /** Stores A and B in this dtype; as they are by default. */
  dtype?: DType;
}

/**
 * Writes adapter_model.safetensors and adapter_config.json as PEFT does with transformers 5, so
 * that `PeftModel.from_pretrained` reads the folder. Both files are complete before either takes
 * its place.
 * @throws FileError naming the file; what was there before stays.
 */
export function saveAdapter(
  dir: string,
  adapter: LoraAdapter,
  options: SaveAdapterOptions = {},
): void {
  const { layers, config } = adapter;
  const isQwen2Audio = [...layers.keys()].some((name) => inMemoryName(name) !== name);
  const json = formatAdapterConfig(config, {
    targetModules: targetNames(adapter),
    baseModelNameOrPath: options.baseModelNameOrPath ?? null,
    autoMapping: isQwen2Audio ? qwen2Audio : null,
  });
  const staging = temporaryName(dir);
  try {
    scope(() => {
      const tensors = Array.from(layers, ([name, update]) =>
        Array.from(update.namedTensors(), ([own, value]) => {
          const stored = options.dtype === undefined ? value : value.detach().to(options.dtype);
          return [tensorKey(name, own), stored] as const;
        }),
      ).flat();
      writeSafetensors(join(staging, adapterModelFile), tensors);
    });
    writeFileAtomic(join(staging, adapterConfigFile), json);
    makeFolder(dir);
    renameSync(join(staging, adapterModelFile), join(dir, adapterModelFile));
    renameSync(join(staging, adapterConfigFile), join(dir, adapterConfigFile));
    syncFolder(dir);
  } catch (error) {
    throw error instanceof PareError ? error : fileError('write', dir, error);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** Last parts of names if they mean these layers and no others, as PEFT writes; else the names. */
function targetNames({ model, layers }: LoraAdapter): string[] {
  const ends = new Set(Array.from(layers.keys(), (name) => name.slice(name.lastIndexOf('.') + 1)));
  const matches = targetMatcher([...ends]);
  const meant = new Set(Array.from(model.namedModules(), ([name]) => name).filter(matches));
  const exact = meant.size === layers.size && [...meant].every((name) => layers.has(name));
  return (exact ? [...ends] : Array.from(layers.keys(), inMemoryName)).sort();
}
