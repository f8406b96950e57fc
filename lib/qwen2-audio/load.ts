/** Reading Hugging Face checkpoints. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PareError } from '../errors';
import { fileError } from '../files';
import { isQuantized, Linear4bit, QuantStateError } from '../nf4';
import { keep, nn, type DType, type Tensor } from '../torch';
import { isFloating } from '../torch/dtype';
import { readSafetensors } from '../torch/safetensors';
import { ConfigError, parseConfig, type Qwen2AudioConfig } from './config';
import { Qwen2Audio } from './model';
import { isDerived, publicTensorName } from './names';

/** A checkpoint folder that is incomplete or does not fit its config. */
export class CheckpointError extends PareError {}

export interface LoadOptions {
  /** Converts floating-point weights; as stored by default. 4-bit weights stay. */
  dtype?: DType;
}

type Json = Record<string, unknown>;

export function readJson(path: string): Json {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('read', path, error);
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch (cause) {
    throw new CheckpointError(`${path} is not valid JSON; fetch it again`, { cause });
  }
  throw new CheckpointError(`${path} does not hold a JSON object; fetch it again`);
}

/** config.json and generation_config.json of a checkpoint folder. */
export function readConfig(dir: string): Qwen2AudioConfig {
  const path = join(dir, 'config.json');
  if (!existsSync(path)) {
    throw new CheckpointError(`${dir} has no config.json; give the folder of a checkpoint`);
  }
  const generation = join(dir, 'generation_config.json');
  return parseConfig(readJson(path), existsSync(generation) ? readJson(generation) : {}, path);
}

/** The safetensors files of a checkpoint: one, or the shards that its index names. */
export function checkpointFiles(dir: string): string[] {
  const single = join(dir, 'model.safetensors');
  if (existsSync(single)) return [single];
  const index = join(dir, 'model.safetensors.index.json');
  if (!existsSync(index)) {
    throw new CheckpointError(
      `${dir} has neither model.safetensors nor model.safetensors.index.json; fetch the weights`,
    );
  }
  const map = readJson(index).weight_map;
  if (typeof map !== 'object' || map === null || Object.keys(map).length === 0) {
    throw new CheckpointError(`${index} has no weight_map; fetch it again`);
  }
  const files = [...new Set(Object.values(map as Record<string, unknown>))].map(String).sort();
  const missing = files.find((file) => !existsSync(join(dir, file)));
  if (missing !== undefined) {
    throw new CheckpointError(
      `${join(dir, missing)} is missing; the index names it, fetch it again`,
    );
  }
  return files.map((file) => join(dir, file));
}

/** All tensors of a checkpoint under their public names, mapped from the files, not read. */
export function readStateDict(dir: string): Map<string, Tensor> {
  const state = new Map<string, Tensor>();
  for (const path of checkpointFiles(dir)) {
    const file = readSafetensors(path);
    try {
      for (const name of file.names()) {
        if (isDerived(name)) continue;
        const known = publicTensorName(name);
        if (state.has(known)) {
          throw new CheckpointError(`${path}: tensor ${name} is there twice, under two names`);
        }
        state.set(known, file.tensor(name));
      }
    } finally {
      file.close();
    }
  }
  return state;
}

/**
 * The model of a checkpoint folder: one file or shards, any variant of names, full precision or
 * NF4 as bitsandbytes serialises it. Weights are mapped, so pages are read when they are used.
 * @throws CheckpointError, ConfigError, SafetensorsError, QuantStateError naming the file
 */
export function loadModel(dir: string, options: LoadOptions = {}): Qwen2Audio {
  const config = readConfig(dir);
  const state = readStateDict(dir);
  try {
    checkLayerCount(dir, config, state);
    const model = new Qwen2Audio(config);
    nn.replaceModules(model, (name, module) =>
      module instanceof nn.Linear && isQuantized(state, name)
        ? quantizedLinear(dir, name, module, state)
        : undefined,
    );
    assignAll(dir, model, state, options.dtype);
    return model.eval();
  } catch (error) {
    for (const tensor of state.values()) tensor.dispose();
    throw error;
  }
}

function checkLayerCount(dir: string, config: Qwen2AudioConfig, state: Map<string, Tensor>): void {
  const found = new Set<number>();
  for (const name of state.keys()) {
    const match = /^language_model\.model\.layers\.(\d+)\./.exec(name);
    if (match !== null) found.add(Number(match[1]));
  }
  const expected = config.text.numHiddenLayers;
  const gap = Array.from({ length: expected }, (_, i) => i).find((i) => !found.has(i));
  if (found.size === expected && gap === undefined) return;
  throw new ConfigError(
    `${join(dir, 'config.json')} says ${expected} decoder layers, the weights have ${found.size}` +
      (gap === undefined || gap >= found.size ? '' : ` (layer ${gap} is missing)`) +
      '; the two are not of one checkpoint',
  );
}

/** The 4-bit layer in the place of `plain`, whose sizes and bias it must have. */
function quantizedLinear(
  dir: string,
  name: string,
  plain: nn.Linear,
  state: ReadonlyMap<string, Tensor>,
): Linear4bit {
  let layer: Linear4bit;
  try {
    layer = Linear4bit.fromStateDict(state, name);
  } catch (error) {
    if (!(error instanceof QuantStateError)) throw error;
    throw new QuantStateError(`${dir}: ${error.message}`, { cause: error });
  }
  const want = [plain.outFeatures, plain.inFeatures];
  checkShape(dir, `${name}.weight`, layer.quantState.shape, want);
  if (plain.bias === undefined) return layer;
  if (layer.bias === undefined) throw missing(dir, `${name}.bias`);
  checkShape(dir, `${name}.bias`, layer.bias.shape, want.slice(0, 1));
  return layer;
}

function missing(dir: string, name: string): CheckpointError {
  return new CheckpointError(`${dir}: tensor ${name} is missing; fetch the weights again`);
}

function checkShape(
  dir: string,
  name: string,
  have: readonly number[],
  want: readonly number[],
): void {
  if (have.join() === want.join()) return;
  throw new CheckpointError(
    `${dir}: tensor ${name} has shape [${have}], config.json asks for [${want}]; ` +
      'the two are not of one checkpoint',
  );
}

// The tensors of the file become the parameters: nothing is copied unless the dtype changes.
function assignAll(
  dir: string,
  model: Qwen2Audio,
  state: Map<string, Tensor>,
  dtype: DType | undefined,
): void {
  const used = new Set<string>();
  for (const [prefix, module] of model.namedModules()) {
    for (const [own, target] of [...module.ownTensors()]) {
      const name = prefix === '' ? own : `${prefix}.${own}`;
      used.add(name);
      if (module instanceof Linear4bit) continue;
      const source = state.get(name);
      if (source === undefined) throw missing(dir, name);
      checkShape(dir, name, source.shape, target.shape);
      if (!isFloating(source.dtype)) {
        throw new CheckpointError(
          `${dir}: tensor ${name} is ${source.dtype}, of a quantisation that is not known; ` +
            'use weights in full precision or in NF4 of bitsandbytes',
        );
      }
      const property = own as 'weight' | 'bias';
      const value = dtype === undefined || source.dtype === dtype ? source : source.to(dtype);
      const holder = module as nn.Module & Record<'weight' | 'bias', Tensor>;
      holder[property] = nn.parameter(value, target.requiresGrad);
      target.dispose();
      if (value !== source) source.dispose();
    }
  }
  const unexpected = [...state.keys()].find((name) => !used.has(name));
  if (unexpected !== undefined) {
    throw new CheckpointError(
      `${dir}: tensor ${unexpected} belongs to no part of the model that config.json describes; ` +
        'the two are not of one checkpoint',
    );
  }
  keep(model);
}
