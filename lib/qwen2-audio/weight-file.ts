/** What a safetensors file says of itself, without its weights and without the addon. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { PareError } from '../errors';
import { fileError } from '../files';
import type { DType } from '../torch/dtype';
import {
  maxHeaderLength,
  parseHeader,
  SafetensorsError,
  type PlacedTensor,
} from '../torch/safetensors-header';
import { CheckpointError, checkpointFiles } from './folder';
import { isDerived, publicTensorName } from './names';
import type { FileRange } from './read-ahead';

/** A tensor of a checkpoint and where it lies. */
export interface CheckpointTensor {
  /** Public, whatever wrote it. */
  name: string;
  dtype: DType;
  shape: readonly number[];
  range: FileRange;
}

/**
 * All tensors of a checkpoint by their public names, in the order of the files.
 * @throws CheckpointError, SafetensorsError, FileError naming the file
 */
export function checkpointTensors(dir: string): Map<string, CheckpointTensor> {
  const result = new Map<string, CheckpointTensor>();
  for (const path of checkpointFiles(dir)) {
    for (const [stored, tensor] of readWeightFile(path, () => false).tensors) {
      if (isDerived(stored)) continue;
      const name = publicTensorName(stored);
      if (result.has(name)) {
        throw new CheckpointError(`${path}: tensor ${stored} is there twice, under two names`);
      }
      const { dtype, shape, offset, bytes } = tensor;
      result.set(name, { name, dtype, shape, range: { path, offset, bytes } });
    }
  }
  return result;
}

export interface WeightFile {
  path: string;
  /** Of the whole file, header included. */
  bytes: number;
  /** By the names in the file. */
  tensors: ReadonlyMap<string, PlacedTensor>;
  /** Bytes of small tensors, by name: those that `wanted` asked for. */
  contents: ReadonlyMap<string, Uint8Array>;
}

/**
 * Reads the header, and the content of the tensors that `wanted` names.
 * @throws SafetensorsError when the file is truncated or broken, FileError when it cannot be read
 */
export function readWeightFile(path: string, wanted: (name: string) => boolean): WeightFile {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    const bytes = fstatSync(fd).size;
    const length = bytes < 8 ? 0n : readAt(path, fd, 0, 8).readBigUInt64LE();
    if (bytes < 8 || length > maxHeaderLength || Number(length) > bytes - 8) {
      throw new SafetensorsError(
        `${path} is truncated or no safetensors file (${bytes} bytes); fetch it again`,
      );
    }
    const header = readAt(path, fd, 8, Number(length));
    const { tensors } = parseHeader(path, header, bytes - 8 - header.length);
    const contents = new Map<string, Uint8Array>();
    for (const [name, tensor] of tensors) {
      if (wanted(name)) contents.set(name, readAt(path, fd, tensor.offset, tensor.bytes));
    }
    return { path, bytes, tensors, contents };
  } catch (error) {
    throw error instanceof PareError ? error : fileError('read', path, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function readAt(path: string, fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let at = 0; at < length;) {
    const read = readSync(fd, buffer, at, length - at, position + at);
    if (read === 0) throw new SafetensorsError(`${path} became shorter while it was read`);
    at += read;
  }
  return buffer;
}
