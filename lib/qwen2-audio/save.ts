/** Writing Hugging Face checkpoints that transformers (and bitsandbytes) load. */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileError, FileError, syncFolder, temporaryName, writeFileAtomic } from '../files';
import { PareError } from '../errors';
import { baseStateDict } from '../lora';
import { PackedModule } from '../nf4';
import { dtypeSize, nn, scope, type DType, type Tensor } from '../torch';
import { writeSafetensors } from '../torch/safetensors';
import { configJson } from './config';
import { CheckpointError } from './folder';
import type { Qwen2Audio } from './model';
import type { Processor } from './processor';

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
  if (existsSync(dir)) throw new CheckpointError(`${dir} exists already; choose another folder`);
  const temporary = temporaryName(dir);
  try {
    mkdirSync(temporary, { recursive: true });
    const dtype = options.dtype ?? model.dtype;
    const json = configJson(model.config, model.layers.length, dtype, options.targetLanguages);
    const quantization = quantizationConfig(model, dtype);
    if (quantization !== undefined) json.quantization_config = quantization;
    else delete json.quantization_config;
    writeJson(join(temporary, 'config.json'), json);
    writeJson(join(temporary, 'generation_config.json'), {
      do_sample: false,
      eos_token_id: model.config.eosTokenIds,
      pad_token_id: model.config.padTokenId,
    });
    writeWeights(temporary, model, dtype, options.maxShardSize ?? 5e9);
    processor?.save(temporary);
    syncFolder(temporary);
    renameSync(temporary, dir);
  } catch (error) {
    // Below a file there is nothing to remove, and rmSync would throw an error of its own.
    if (existsSync(temporary)) rmSync(temporary, { recursive: true, force: true });
    if (error instanceof PareError && !(error instanceof FileError)) throw error;
    // The folder that was asked for, not a file in the temporary one.
    throw fileError('write', dir, error instanceof FileError ? error.cause : error);
  }
}

function writeJson(path: string, value: unknown): void {
  writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
}

// What transformers writes for a model that bitsandbytes quantised. It makes every linear layer but
// lm_head a 4-bit one unless the list of what to skip says otherwise.
function quantizationConfig(
  model: Qwen2Audio,
  computeDtype: DType,
): Record<string, unknown> | undefined {
  const modules = [...model.namedModules()];
  const packed = modules.map(([, module]) => module).filter((m) => m instanceof PackedModule);
  if (packed.length === 0) return undefined;
  const plain = modules.filter(([, m]) => m instanceof nn.Linear).map(([name]) => name);
  const usual = plain.length > 0 && plain.every((name) => name.endsWith('lm_head'));
  return {
    quant_method: 'bitsandbytes',
    load_in_4bit: true,
    load_in_8bit: false,
    bnb_4bit_quant_type: 'nf4',
    bnb_4bit_use_double_quant: packed.some((layer) => layer.quantState.nested !== undefined),
    bnb_4bit_compute_dtype: computeDtype,
    bnb_4bit_quant_storage: 'uint8',
    llm_int8_skip_modules: usual ? null : plain,
  };
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

function writeWeights(dir: string, model: Qwen2Audio, dtype: DType, maxShardSize: number): void {
  const state = baseStateDict(model);
  const converted = convertible(model);
  const dtypeOf = (name: string, tensor: Tensor): DType =>
    converted.has(name) ? dtype : tensor.dtype;
  const shards: { names: string[]; bytes: number }[] = [];
  for (const [name, tensor] of state) {
    const bytes = tensor.numel * dtypeSize[dtypeOf(name, tensor)];
    const last = shards.at(-1);
    if (last === undefined || last.bytes + bytes > maxShardSize) {
      shards.push({ names: [name], bytes });
    } else {
      last.names.push(name);
      last.bytes += bytes;
    }
  }
  const fileName = (i: number): string =>
    shards.length === 1
      ? 'model.safetensors'
      : `model-${String(i + 1).padStart(5, '0')}-of-${String(shards.length).padStart(5, '0')}.safetensors`;
  for (const [i, { names }] of shards.entries()) {
    scope(() => {
      const tensors = names.map((name) => {
        const tensor = state.get(name)!.detach();
        const target = dtypeOf(name, tensor);
        return [name, tensor.dtype === target ? tensor : tensor.to(target)] as const;
      });
      writeSafetensors(join(dir, fileName(i)), tensors);
    });
  }
  if (shards.length === 1) return;
  const weightMap = Object.fromEntries(
    shards.flatMap(({ names }, i) => names.map((name) => [name, fileName(i)])),
  );
  const totalSize = shards.reduce((sum, { bytes }) => sum + bytes, 0);
  writeJson(join(dir, 'model.safetensors.index.json'), {
    metadata: { total_size: totalSize },
    weight_map: weightMap,
  });
}
