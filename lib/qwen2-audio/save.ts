/** Writing Hugging Face checkpoints that transformers (and bitsandbytes) load. */
import { baseStateDict } from '../lora';
import { PackedModule } from '../nf4';
import { nn, type DType } from '../torch';
import { sourceOf, writeSafetensors } from '../torch/safetensors';
import type { Qwen2Audio } from './model';
import { NewCheckpoint } from './new-checkpoint';
import type { Processor } from './processor';
import { quantizationConfig } from './quantization-config';
import { bytesOf, planShards, shardMetadata } from './shards';

/** What is stored beside the weights, in which dtype and in files of which size. */
export interface SaveOptions {
  /** Converts floating-point weights; 4-bit ones stay. */
  dtype?: DType;
  /** Bytes a file at most, unless one tensor is larger; 5 GB by default. */
  maxShardSize?: number;
  /**
   * Names or codes of the languages that the model was trained to translate into. It says so when
   * it is asked for another. What the model was loaded with by default.
   */
  targetLanguages?: readonly string[];
  /** More JSON files of the folder, by name. */
  files?: Readonly<Record<string, unknown>>;
}

/**
 * Writes config, weights and, if given, tokenizer and processor files into a new folder, whole or
 * not at all. Decoder layers are numbered as they stand in the model. An adapter is not written
 * (see `saveAdapter`).
 * @throws CheckpointError if the folder exists, FileError when it cannot be written
 */
export function saveModel(
  dir: string,
  model: Qwen2Audio,
  processor: Processor | undefined,
  options: SaveOptions = {},
): void {
  const target = new NewCheckpoint(dir);
  try {
    const dtype = options.dtype ?? model.dtype;
    const quantization = quantizationOf(model, dtype);
    const languages = options.targetLanguages;
    target.writeConfig(model.config, model.layers.length, dtype, { quantization, languages });
    writeWeights(target, model, dtype, options.maxShardSize);
    processor?.save(target.temporary);
    for (const [file, json] of Object.entries(options.files ?? {})) target.writeJson(file, json);
    target.complete();
  } catch (error) {
    throw target.abandon(error);
  }
}

function quantizationOf(model: Qwen2Audio, dtype: DType): Record<string, unknown> | undefined {
  const modules = [...model.namedModules()];
  const packed = modules.map(([, module]) => module).filter((m) => m instanceof PackedModule);
  if (packed.length === 0) return undefined;
  const plain = modules.filter(([, m]) => m instanceof nn.Linear).map(([name]) => name);
  const doubleQuant = packed.some((layer) => layer.quantState.nested !== undefined);
  return quantizationConfig({ plain, doubleQuant, computeDtype: dtype });
}

/** Weights that a change of dtype concerns: what a 4-bit layer stores is not touched. */
function convertible(model: Qwen2Audio): Set<string> {
  const names = new Set<string>();
  for (const [prefix, module] of model.namedModules()) {
    for (const [own] of module.ownTensors()) {
      if (!(module instanceof PackedModule) || own === 'bias') names.add(`${prefix}.${own}`);
    }
  }
  return names;
}

function writeWeights(
  target: NewCheckpoint,
  model: Qwen2Audio,
  dtype: DType,
  maxShardSize: number | undefined,
): void {
  const converted = convertible(model);
  const tensors = Array.from(baseStateDict(model), ([name, tensor]) => ({
    name,
    ...sourceOf(tensor, converted.has(name) ? dtype : tensor.dtype),
  }));
  const shards = planShards(tensors, maxShardSize);
  for (const { file, tensors: some, headerLength } of shards) {
    const named = some.map((tensor) => [tensor.name, tensor] as const);
    writeSafetensors(target.path(file), named, shardMetadata, headerLength);
  }
  target.writeIndex(
    shards,
    tensors.map(bytesOf).reduce((sum, bytes) => sum + bytes, 0),
  );
}
