/** Writes checkpoints larger than the memory, tensor by tensor. Needs no addon. */
import { open, type FileHandle } from 'node:fs/promises';
import { formatHeader, SafetensorsError, type TensorInfo } from '../torch/safetensors-header';
import type { NewCheckpoint } from './new-checkpoint';
import { ReadAhead, type FileRange } from './read-ahead';
import {
  bytesOf,
  isDescription,
  planShards,
  shardMetadata,
  type Shard,
  type TensorToWrite,
} from './shards';

export type Pieces = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Gives the bytes of a file's range. */
export type Read = (range: FileRange) => AsyncIterable<Uint8Array>;

/** A tensor whose bytes are made or read when its turn to be written comes. */
export interface StreamedTensor extends TensorToWrite {
  /** What is read for it, once, also where several tensors are made of it. */
  readonly source?: FileRange;
  /**
   * Its bytes in order, in pieces that are valid until the next but one is asked for.
   * @param read gives the bytes of `source`
   */
  pieces(read: Read): Pieces;
}

export interface StreamOptions {
  /** Bytes a file at most, unless one tensor is larger; 5 GB by default. */
  maxShardSize?: number;
  signal?: AbortSignal;
  /** Bytes of tensors that are written, and of all. */
  onProgress?: (done: number, total: number) => void;
}

/**
 * Writes the weights of a new checkpoint, in files as `saveModel` makes them; all are on disk then.
 * While a piece is written, the next is made and those after it are read. Yields to the event loop
 * between pieces.
 * @throws SafetensorsError for a tensor of which too much or too little came, the error of a source,
 * and the reason of `signal`
 */
export async function writeTensors(
  target: NewCheckpoint,
  tensors: readonly StreamedTensor[],
  options: StreamOptions = {},
): Promise<void> {
  const shards = planShards(tensors, options.maxShardSize);
  const inOrder = shards.flatMap((shard) => shard.tensors);
  const sources = new Set(inOrder.flatMap(({ source }) => source ?? []));
  const reader = new ReadAhead([...sources]);
  const total = inOrder.reduce((sum, tensor) => sum + plannedBytes(tensor), 0);
  let done = 0;
  const progress = (bytes: number): void => {
    options.signal?.throwIfAborted();
    options.onProgress?.(Math.min((done += bytes), total), total);
  };
  try {
    progress(0);
    let totalSize = 0;
    for (const shard of shards) {
      const file = await open(target.path(shard.file), 'wx');
      try {
        totalSize += await writeShard(file, shard, reader, progress);
        await file.sync();
      } finally {
        await file.close();
      }
    }
    target.writeIndex(shards, totalSize);
    if (done < total) progress(total - done);
  } finally {
    await reader.close();
  }
}

/** @returns the bytes of its tensors */
async function writeShard(
  file: FileHandle,
  { tensors, headerLength }: Shard<StreamedTensor>,
  reader: ReadAhead,
  progress: (bytes: number) => void,
): Promise<number> {
  const entries: [string, TensorInfo][] = [];
  let position = headerLength;
  let writing: Promise<void> = Promise.resolve();
  for (const tensor of tensors) {
    const { name, dtype } = tensor;
    const start = position;
    for await (const piece of tensor.pieces((range) => reader.read(range))) {
      await writing;
      writing = writeAll(file, piece, position);
      // Waited for with the next piece; until then an error of it is no unhandled one.
      writing.catch(() => undefined);
      position += piece.byteLength;
      progress(piece.byteLength);
    }
    const bytes = position - start;
    const shape = isDescription(name) ? [bytes] : tensor.shape;
    if (bytes !== bytesOf({ dtype, shape })) {
      throw new SafetensorsError(
        `tensor ${name} gave ${bytes} bytes, its shape needs ${bytesOf({ dtype, shape })}`,
      );
    }
    entries.push([name, { dtype, shape, bytes }]);
  }
  await writing;
  const header = formatHeader(shardMetadata, entries, headerLength);
  if (header.length !== headerLength) {
    throw new SafetensorsError('a description is too long for the place kept for it');
  }
  await writeAll(file, header, 0);
  return position - headerLength;
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) {
    at += (await file.write(bytes, at, bytes.byteLength - at, position + at)).bytesWritten;
  }
}

function plannedBytes(tensor: StreamedTensor): number {
  return isDescription(tensor.name) ? 0 : bytesOf(tensor);
}
