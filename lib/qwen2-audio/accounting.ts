/** How large a checkpoint is, by three counts that are never mixed. Needs no addon. */
import { join } from 'node:path';
import { parseAdapterConfig } from '../lora/peft-config';
import { parseQuantState, type BlockSize } from '../nf4/quant-state-json';
import type { DType } from '../torch/dtype';
import { adapterOf, checkpointFiles, CheckpointError, readConfig, readJson } from './folder';
import { logicalParameters, type LogicalParameters } from './logical-parameters';
import { isDerived, publicTensorName } from './names';
import { resolveSource, type CheckpointSource } from './resolve';
import { readWeightFile, type WeightFile } from './weight-file';

export { logicalParameters, type LogicalParameters };

/** What bytes are spent on. */
export type AccountingCategory =
  | 'embeddings'
  | 'lm_head'
  | 'encoder'
  | 'projector'
  | 'decoder'
  | 'adapter'
  | 'quantisation state'
  | 'other';

/** An adapter that is stored beside the weights. */
export interface AdapterAccounting {
  dir: string;
  r: number;
  loraAlpha: number;
  useRslora: boolean;
  parameters: number;
  bytes: number;
}

/** What a checkpoint consists of, counted from the headers of its files. */
export interface Accounting {
  decoderLayers: number;
  encoderLayers: number;
  /** Weights that the arithmetic sees, however they are packed; an adapter's included. */
  parameters: number;
  /**
   * Elements of all tensors in the files; of packed weights every byte is one, though it holds two.
   * The paper's count of parameters.
   */
  storedElements: number;
  /** On disk, of all weight files, headers and adapter included. */
  bytes: number;
  quantization: 'nf4' | null;
  /** Of the 4-bit weights; null where there are none. */
  blockSize: BlockSize | null;
  doubleQuantization: boolean | null;
  /** What most of the weights that are not quantised are stored in. */
  dtype: DType;
  /** In words: `float32`, `NF4 + bfloat16`. */
  storage: string;
  vocabulary: number;
  /** 8 bytes / parameters. */
  bitsPerParameter: number;
  /** Sums to `bytes` but for the files' headers; empty categories are left out. */
  bytesByCategory: { category: AccountingCategory; bytes: number }[];
  adapter: AdapterAccounting | null;
  /** Weight files, the adapter's last. */
  files: string[];
}

const order: readonly AccountingCategory[] = [
  'embeddings',
  'lm_head',
  'encoder',
  'projector',
  'decoder',
  'adapter',
  'quantisation state',
  'other',
];

const quantStateJson = /\.quant_state\.bitsandbytes__nf4$/;
const quantState = /\.weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*)$/;

function categoryOf(name: string): AccountingCategory {
  if (quantState.test(name)) return 'quantisation state';
  if (name.startsWith('language_model.lm_head.')) return 'lm_head';
  if (name.startsWith('language_model.model.embed_tokens.')) return 'embeddings';
  if (name.startsWith('language_model.model.')) return 'decoder';
  if (name.startsWith('audio_tower.')) return 'encoder';
  if (name.startsWith('multi_modal_projector.')) return 'projector';
  return 'other';
}

/** Counts by key. */
class Tally<Key> extends Map<Key, number> {
  add(key: Key, amount: number): void {
    this.set(key, (this.get(key) ?? 0) + amount);
  }
}

function numel(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * Counts a checkpoint folder from its config and the headers of its weight files. An adapter in its
 * subfolder `adapter`, or in the folder given, counts as a part of it.
 * @throws CheckpointError, ConfigError, SafetensorsError, QuantStateError, LoraError, FileError
 * naming the file; CheckpointError when weights and config are not of one checkpoint
 */
export function account(dir: string, options: { adapter?: string } = {}): Accounting {
  const config = readConfig(dir);
  const files = checkpointFiles(dir).map((path) =>
    readWeightFile(path, (name) => quantStateJson.test(name)),
  );
  const base = countBase(files);
  const expected = logicalParameters(config).total;
  if (base.parameters !== expected) {
    throw new CheckpointError(
      `${join(dir, 'config.json')} describes ${expected} parameters, the weights have ` +
        `${base.parameters}; the two are not of one checkpoint`,
    );
  }
  const adapterDir = adapterOf(dir, options.adapter);
  const adapter = adapterDir === undefined ? null : countAdapter(adapterDir);
  const { bytesBy } = base;
  if (adapter !== null) bytesBy.add('adapter', adapter.dataBytes);
  const bytes = files.reduce((sum, file) => sum + file.bytes, adapter?.bytes ?? 0);
  const parameters = base.parameters + (adapter?.parameters ?? 0);
  const quantized = base.quantization !== undefined;
  return {
    decoderLayers: config.text.numHiddenLayers,
    encoderLayers: config.audio.encoderLayers,
    parameters,
    storedElements: base.storedElements + (adapter?.parameters ?? 0),
    bytes,
    quantization: quantized ? 'nf4' : null,
    blockSize: base.quantization?.blockSize ?? null,
    doubleQuantization: quantized ? base.quantization?.nestedOffset !== undefined : null,
    dtype: base.dtypes[0] ?? 'float32',
    storage: [...(quantized ? ['NF4'] : []), ...base.dtypes].join(' + '),
    vocabulary: config.text.vocabSize,
    bitsPerParameter: (8 * bytes) / parameters,
    bytesByCategory: order
      .map((category) => ({ category, bytes: bytesBy.get(category) ?? 0 }))
      .filter((entry) => entry.bytes > 0),
    adapter: adapter === null ? null : withoutDataBytes(adapter),
    files: [...files.map((file) => file.path), ...(adapter === null ? [] : [adapter.path])],
  };
}

/**
 * {@link account} of a checkpoint that is given by its folder or by `owner/name[@revision]` on the
 * Hugging Face hub, from which it is fetched.
 * @throws as {@link account}, HubError
 */
export async function inspectCheckpoint(
  pathOrHubName: string,
  options: CheckpointSource & { adapter?: string } = {},
): Promise<Accounting> {
  return account(await resolveSource(pathOrHubName, options), options);
}

interface BaseCount {
  parameters: number;
  storedElements: number;
  bytesBy: Tally<AccountingCategory>;
  /** Of weights that are not quantised, most bytes first. */
  dtypes: DType[];
  /** Of the first 4-bit weight. */
  quantization?: ReturnType<typeof parseQuantState>;
}

function countBase(files: readonly WeightFile[]): BaseCount {
  const packed = new Map<string, ReturnType<typeof parseQuantState>>();
  for (const { path, contents } of files) {
    for (const [name, json] of contents) {
      const weight = publicTensorName(name).replace(quantStateJson, '');
      packed.set(weight, parseQuantState(json, `${path}: ${name}`));
    }
  }
  const bytesBy = new Tally<AccountingCategory>();
  const dtypeBytes = new Tally<DType>();
  let parameters = 0;
  let storedElements = 0;
  for (const [stored, tensor] of files.flatMap((file) => [...file.tensors])) {
    const name = publicTensorName(stored);
    const category = isDerived(name) ? 'other' : categoryOf(name);
    const state = packed.get(name);
    bytesBy.add(category, tensor.bytes);
    // bitsandbytes can store the packed bytes under a wider dtype.
    storedElements += state === undefined ? numel(tensor.shape) : tensor.bytes;
    if (category === 'quantisation state' || isDerived(name)) continue;
    parameters += numel(state === undefined ? tensor.shape : state.shape);
    if (state === undefined) dtypeBytes.add(tensor.dtype, tensor.bytes);
  }
  const dtypes = [...dtypeBytes].sort(([, a], [, b]) => b - a).map(([dtype]) => dtype);
  const [quantization] = packed.values();
  return { parameters, storedElements, bytesBy, dtypes, quantization };
}

interface AdapterCount extends AdapterAccounting {
  path: string;
  /** Without the file's header. */
  dataBytes: number;
}

function countAdapter(dir: string): AdapterCount {
  const configPath = join(dir, 'adapter_config.json');
  const { r, loraAlpha, useRslora } = parseAdapterConfig(readJson(configPath), configPath);
  const file = readWeightFile(join(dir, 'adapter_model.safetensors'), () => false);
  const tensors = [...file.tensors.values()];
  return {
    dir,
    r,
    loraAlpha,
    useRslora,
    parameters: tensors.reduce((sum, { shape }) => sum + numel(shape), 0),
    bytes: file.bytes,
    path: file.path,
    dataBytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

function withoutDataBytes({ path: _, dataBytes: __, ...rest }: AdapterCount): AdapterAccounting {
  return rest;
}
