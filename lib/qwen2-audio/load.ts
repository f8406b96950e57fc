/** Reading Hugging Face checkpoints. */
import { join } from 'node:path';
import { PareError } from '../errors';
import {
  Embedding4bit,
  isQuantized,
  Linear4bit,
  PackedModule,
  QuantState,
  QuantStateError,
  type FloatDType,
} from '../nf4';
import {
  cudaDeviceCount,
  cudaIsAvailable,
  keep,
  nn,
  scope,
  type DType,
  type Tensor,
} from '../torch';
import { cudaIndex, isDeviceName } from '../torch/device';
import { isFloating } from '../torch/dtype';
import { readSafetensors } from '../torch/safetensors';
import { ConfigError, type Qwen2AudioConfig } from './config';
import { CheckpointError, checkpointFiles, readConfig } from './folder';
import { Qwen2Audio } from './model';
import { isDerived, publicTensorName } from './names';

/** Dtype and device of the loaded model. */
export interface LoadOptions {
  /** Converts floating-point weights; as stored by default. 4-bit weights stay. */
  dtype?: DType;
  /** `cpu` (by default), `cuda` or `cuda:1`. */
  device?: string;
}

/** The device that is asked for is not there. */
export class DeviceError extends PareError {}

/** @throws DeviceError */
export function checkDevice({ device = 'cpu' }: LoadOptions): void {
  if (device === 'cpu') return;
  if (!isDeviceName(device)) {
    throw new DeviceError(`there is no device ${device}; give cpu, cuda or cuda:0`);
  }
  if (!cudaIsAvailable()) {
    throw new DeviceError(
      `device ${device}: this machine or this build has no CUDA; give cpu, or see pare doctor`,
    );
  }
  const count = cudaDeviceCount();
  if ((cudaIndex(device) ?? 0) < count) return;
  throw new DeviceError(`device ${device}: the last GPU here is cuda:${count - 1}`);
}

const embeddingsName = 'language_model.model.embed_tokens';
/** Its dtype is the model's where the embeddings are packed. */
const normName = 'language_model.model.norm.weight';

/** All tensors of a checkpoint under their public names, mapped from the files, not read. */
export function readStateDict(dir: string): Map<string, Tensor> {
  const state = new Map<string, Tensor>();
  try {
    for (const path of checkpointFiles(dir)) addTensors(state, path);
  } catch (error) {
    for (const tensor of state.values()) tensor.dispose();
    throw error;
  }
  return state;
}

function addTensors(state: Map<string, Tensor>, path: string): void {
  using file = readSafetensors(path);
  for (const name of file.names()) {
    if (isDerived(name)) continue;
    const known = publicTensorName(name);
    if (state.has(known)) {
      throw new CheckpointError(`${path}: tensor ${name} is there twice, under two names`);
    }
    state.set(known, file.tensor(name));
  }
}

/**
 * The model of a checkpoint folder: one file or shards, any variant of names, full precision or
 * NF4 as bitsandbytes serialises it. Weights are mapped, so pages are read when they are used.
 * @throws CheckpointError, ConfigError, SafetensorsError, QuantStateError naming the file
 */
export function loadModel(dir: string, options: LoadOptions = {}): Qwen2Audio {
  checkDevice(options);
  return modelOf(dir, readConfig(dir), readStateDict(dir), options);
}

/**
 * The model of a state dict with public names, whose tensors become its own.
 * @param dir where they come from, for errors
 */
export function modelOf(
  dir: string,
  config: Qwen2AudioConfig,
  state: Map<string, Tensor>,
  options: LoadOptions = {},
): Qwen2Audio {
  const { device = 'cpu' } = options;
  let model: Qwen2Audio | undefined;
  try {
    checkLayerCount(dir, config, state);
    checkWidths(dir, config, state);
    model = new Qwen2Audio(config);
    if (device !== 'cpu') moveTo(device, state, options.dtype);
    nn.replaceModules(model, (name, module) => {
      if (!isQuantized(state, name)) return undefined;
      if (name === embeddingsName) {
        module.dispose();
        const dtype = (options.dtype ?? state.get(normName)?.dtype) as FloatDType | undefined;
        return readPacked(dir, () => Embedding4bit.fromStateDict(state, name, { dtype }));
      }
      if (!(module instanceof nn.Linear)) return undefined;
      const bias = state.get(`${name}.bias`);
      if (options.dtype !== undefined && bias !== undefined && bias.dtype !== options.dtype) {
        state.set(`${name}.bias`, bias.to(options.dtype));
        bias.dispose();
      }
      module.dispose();
      return quantizedLinear(dir, name, module, state);
    });
    assignAll(dir, model, state, options.dtype);
    return model.eval();
  } catch (error) {
    for (const tensor of state.values()) tensor.dispose();
    model?.dispose();
    throw error;
  }
}

/**
 * All but the JSON of packed weights, which is read here; converted on the way, so that no more is on the
 * device than stays there. Packed weights, whose bytes may be stored under any dtype, and their parts
 * (`X.weight.absmax`) keep theirs.
 */
function moveTo(device: string, state: Map<string, Tensor>, dtype: DType | undefined): void {
  for (const [name, tensor] of state) {
    if (name.includes('.quant_state.')) continue;
    const isPacked = name.includes('.weight.') || isQuantized(state, name.replace(/\.weight$/, ''));
    const converts = dtype !== undefined && isFloating(tensor.dtype) && !isPacked;
    state.set(name, tensor.to(converts ? dtype : tensor.dtype, device));
    tensor.dispose();
  }
}

/** Before anything is made of what config.json says, which may be any number. */
function checkLayerCount(dir: string, config: Qwen2AudioConfig, state: Map<string, Tensor>): void {
  const layersOf = (pattern: RegExp): Set<number> => {
    const numbers = Array.from(state.keys(), (name) => pattern.exec(name)?.[1]);
    return new Set(numbers.filter((number) => number !== undefined).map(Number));
  };
  /** The first number that is not there. */
  const gapOf = (layers: ReadonlySet<number>): number => {
    let gap = 0;
    while (layers.has(gap)) gap++;
    return gap;
  };
  const encoderGap = gapOf(layersOf(/^audio_tower\.layers\.(\d+)\./));
  if (encoderGap < config.audio.encoderLayers) {
    throw missing(dir, `audio_tower.layers.${encoderGap}.fc1.weight`);
  }
  const found = layersOf(/^language_model\.model\.layers\.(\d+)\./);
  const expected = config.text.numHiddenLayers;
  const gap = gapOf(found);
  if (found.size === expected && gap === expected) return;
  throw new ConfigError(
    `${join(dir, 'config.json')} says ${expected} decoder layers, the weights have ${found.size}` +
      (gap >= found.size ? '' : ` (layer ${gap} is missing)`) +
      '; the two are not of one checkpoint',
  );
}

/** The widths, which a few weights tell, before memory for a model of them is asked for. */
function checkWidths(
  dir: string,
  { audio, text }: Qwen2AudioConfig,
  state: ReadonlyMap<string, Tensor>,
): void {
  const { maxSourcePositions, dModel, numMelBins } = audio;
  const { hiddenSize, headDim } = text;
  const layer = 'language_model.model.layers.0';
  const widths: Record<string, number[]> = {
    [`${embeddingsName}.weight`]: [text.vocabSize, hiddenSize],
    [`${layer}.self_attn.q_proj.weight`]: [text.numAttentionHeads * headDim, hiddenSize],
    [`${layer}.self_attn.k_proj.weight`]: [text.numKeyValueHeads * headDim, hiddenSize],
    [`${layer}.mlp.up_proj.weight`]: [text.intermediateSize, hiddenSize],
    'audio_tower.embed_positions.weight': [maxSourcePositions, dModel],
    'audio_tower.conv1.weight': [dModel, numMelBins, 3],
    'audio_tower.layers.0.fc1.weight': [audio.encoderFfnDim, dModel],
  };
  for (const [name, want] of Object.entries(widths)) {
    const tensor = state.get(name);
    if (tensor === undefined) throw missing(dir, name);
    const packed = isQuantized(state, name.replace(/\.weight$/, ''));
    const shape = packed
      ? scope(() => readPacked(dir, () => QuantState.fromStateDict(state, name)).shape)
      : tensor.shape;
    checkShape(dir, name, shape, want);
  }
}

/** What is read of a packed weight, with the folder in front of its errors. */
function readPacked<T>(dir: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof QuantStateError)) throw error;
    throw new QuantStateError(`${dir}: ${error.message}`, { cause: error });
  }
}

/** The 4-bit layer in the place of `plain`, whose sizes and bias it must have. */
function quantizedLinear(
  dir: string,
  name: string,
  plain: nn.Linear,
  state: ReadonlyMap<string, Tensor>,
): Linear4bit {
  const layer = readPacked(dir, () => Linear4bit.fromStateDict(state, name));
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
  let first: { name: string; dtype: DType } | undefined;
  for (const [prefix, module] of model.namedModules()) {
    for (const [own, target] of [...module.ownTensors()]) {
      const name = prefix === '' ? own : `${prefix}.${own}`;
      used.add(name);
      if (module instanceof PackedModule) {
        // The module has handles of its own to what is stored.
        state.get(name)?.dispose();
        continue;
      }
      const source = state.get(name);
      if (source === undefined) throw missing(dir, name);
      checkShape(dir, name, source.shape, target.shape);
      if (!isFloating(source.dtype)) {
        throw new CheckpointError(
          `${dir}: tensor ${name} is ${source.dtype}, of a quantisation that is not known; ` +
            'use weights in full precision or in NF4 of bitsandbytes',
        );
      }
      first ??= { name, dtype: source.dtype };
      if (dtype === undefined && source.dtype !== first.dtype) {
        throw new CheckpointError(
          `${dir}: tensor ${name} is ${source.dtype} while ${first.name} is ${first.dtype}; ` +
            'load it with one dtype for all (--dtype)',
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
