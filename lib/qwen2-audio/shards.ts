/** How a checkpoint's tensors are laid out in files. Needs no addon. */
import { quantStateKey } from '../nf4/quant-state-json';
import { dtypeSize, type DType } from '../torch/dtype';
import { formatHeader, type TensorInfo } from '../torch/safetensors-header';

/** A tensor that is to be written. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: DType;
  /** Of a 4-bit weight's description it may be anything: its length is known when it is made. */
  readonly shape: readonly number[];
}

export interface Shard<T extends TensorToWrite> {
  file: string;
  /** In the order of their data. */
  tensors: T[];
  /** Bytes kept for the header, however long the descriptions of 4-bit weights turn out to be. */
  headerLength: number;
}

/** What save_pretrained of transformers writes into a header. */
export const shardMetadata: Readonly<Record<string, string>> = { format: 'pt' };

/** transformers' own. */
export const defaultShardSize = 5e9;

/** More than the description of a 4-bit weight can have; those that are written have about 160. */
const descriptionBytes = 256;

/** Whether a tensor is the description of a 4-bit weight, whose length depends on the values. */
export function isDescription(name: string): boolean {
  return name.endsWith(`.${quantStateKey}`);
}

/**
 * Divides tensors into files of at most `maxShardSize` bytes, unless one tensor is larger. Tensors
 * keep their order, but what is no multiple of eight bytes comes last in its file, the wider dtypes
 * first: every tensor can be mapped where it lies. What is planned depends on names, dtypes and
 * shapes alone, so that the header can be written after the data.
 */
export function planShards<T extends TensorToWrite>(
  tensors: readonly T[],
  maxShardSize: number = defaultShardSize,
): Shard<T>[] {
  const groups: { tensors: T[]; bytes: number }[] = [];
  for (const tensor of tensors) {
    const { bytes } = infoOf(tensor);
    const last = groups.at(-1);
    if (last === undefined || last.bytes + bytes > maxShardSize) {
      groups.push({ tensors: [tensor], bytes });
    } else {
      last.tensors.push(tensor);
      last.bytes += bytes;
    }
  }
  return groups.map((group, i) => {
    const ordered = inOrderOfData(group.tensors);
    const infos = ordered.map((tensor) => [tensor.name, infoOf(tensor)] as const);
    return {
      file: fileName(i, groups.length),
      tensors: ordered,
      headerLength: formatHeader(shardMetadata, infos).length,
    };
  });
}

/** model.safetensors.index.json: which file has a tensor. */
export function shardIndex(
  shards: readonly Shard<TensorToWrite>[],
  totalSize: number,
): Record<string, unknown> {
  const entries = shards.flatMap(({ file, tensors }) => tensors.map(({ name }) => [name, file]));
  return { metadata: { total_size: totalSize }, weight_map: Object.fromEntries(entries) };
}

/** Bytes of a tensor's data. */
export function bytesOf({ dtype, shape }: Pick<TensorToWrite, 'dtype' | 'shape'>): number {
  return shape.reduce((product, size) => product * size, dtypeSize[dtype]);
}

function infoOf({ name, dtype, shape: given }: TensorToWrite): TensorInfo {
  const shape = isDescription(name) ? [descriptionBytes] : given;
  return { dtype, shape, bytes: bytesOf({ dtype, shape }) };
}

function inOrderOfData<T extends TensorToWrite>(tensors: readonly T[]): T[] {
  const rank = (tensor: T): number => {
    if (isDescription(tensor.name)) return 9;
    return infoOf(tensor).bytes % 8 === 0 ? 0 : 9 - dtypeSize[tensor.dtype];
  };
  return [...tensors].sort((a, b) => rank(a) - rank(b));
}

function fileName(index: number, count: number): string {
  if (count === 1) return 'model.safetensors';
  const number = (n: number): string => String(n).padStart(5, '0');
  return `model-${number(index + 1)}-of-${number(count)}.safetensors`;
}
