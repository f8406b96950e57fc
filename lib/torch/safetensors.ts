/**
 * Safetensors files, read without reading them: a tensor is a range of the file in memory, loaded
 * page by page when its values are used.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { fileError } from '../files';
import { binding } from './binding';
import { dtypeCode } from './dtype';
import {
  maxHeaderLength,
  parseHeader,
  SafetensorsError,
  type Header,
  type TensorInfo,
} from './safetensors-header';
import { Tensor, TorchError } from './tensor';

export { SafetensorsError, type TensorInfo } from './safetensors-header';
export { sourceOf, writeSafetensors, type TensorSource } from './safetensors-write';

// The safety net for files that were never closed.
const forgotten = new FinalizationRegistry<number>((fd) => closeSync(fd));

/** An open safetensors file; see {@link readSafetensors}. */
export class SafetensorsFile {
  readonly #tensors: Header['tensors'];
  #fd: number | undefined;

  /** The `__metadata__` of the header. */
  readonly metadata: Readonly<Record<string, string>>;

  /** @internal */
  constructor(
    readonly path: string,
    fd: number,
    header: Header,
  ) {
    this.#fd = fd;
    this.#tensors = header.tensors;
    this.metadata = header.metadata;
    forgotten.register(this, fd, this);
  }

  /** The tensors' names, in the order of their data. */
  names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** Whether there is a tensor of this name. */
  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** @throws SafetensorsError when there is no such tensor. */
  info(name: string): TensorInfo {
    const { dtype, shape, bytes } = this.#find(name);
    return { dtype, shape, bytes };
  }

  /**
   * A tensor over the file's bytes (copied only where they are not aligned to the dtype). It stays
   * valid after {@link close} and when another file takes this one's name; changed in place, it
   * takes memory for the changed pages and leaves the file as it is. The file must not be
   * shortened or rewritten in place while the tensor lives.
   * @throws SafetensorsError when there is no such tensor, or the file is closed.
   */
  tensor(name: string): Tensor {
    const { offset, dtype, shape } = this.#find(name);
    if (this.#fd === undefined) {
      throw new SafetensorsError(`${this.path} is closed; read its tensors before close()`);
    }
    try {
      return Tensor.from(binding.mapTensor(this.#fd, offset, dtypeCode(dtype), shape));
    } catch (cause) {
      if (!(cause instanceof TorchError)) throw cause;
      throw new SafetensorsError(`${this.path}: cannot map tensor ${name}: ${cause.message}`, {
        cause,
      });
    }
  }

  /** Closes the file. Its tensors live on. */
  close(): void {
    if (this.#fd === undefined) return;
    forgotten.unregister(this);
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** `close()`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  #find(name: string): TensorInfo & { offset: number } {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) {
      throw new SafetensorsError(`${this.path} has no tensor ${name}; see names() for what it has`);
    }
    return tensor;
  }
}

/**
 * Opens a safetensors file and checks its header against the format and the file's size.
 * @throws SafetensorsError when it is truncated or broken, FileError when it cannot be opened.
 */
export function readSafetensors(path: string): SafetensorsFile {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    return new SafetensorsFile(path, fd, readHeader(path, fd));
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw error instanceof SafetensorsError ? error : fileError('read', path, error);
  }
}

function readHeader(path: string, fd: number): Header {
  const size = fstatSync(fd).size;
  const start = readExactly(path, fd, Math.min(size, 8), 0);
  if (start.toString('latin1') === 'version ') {
    throw new SafetensorsError(`${path} is a Git LFS pointer; fetch the file itself: git lfs pull`);
  }
  if (size < 8) {
    throw new SafetensorsError(
      `${path} is truncated: it has ${size} bytes and no safetensors header; fetch it again`,
    );
  }
  const length = start.readBigUInt64LE();
  if (length > maxHeaderLength) {
    throw new SafetensorsError(
      `${path} is not a safetensors file: its header would have ${length} bytes; check the path`,
    );
  }
  if (Number(length) > size - 8) {
    throw new SafetensorsError(
      `${path} is truncated: its header has ${length} bytes, but the file ${size}; fetch it again`,
    );
  }
  const header = readExactly(path, fd, Number(length), 8);
  return parseHeader(path, header, size - 8 - header.length);
}

function readExactly(path: string, fd: number, length: number, position: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let at = 0; at < length;) {
    const read = readSync(fd, buffer, at, length - at, position + at);
    if (read === 0) throw new SafetensorsError(`${path} became shorter while it was read`);
    at += read;
  }
  return buffer;
}

/** All tensors of a file, mapped, by name; see {@link SafetensorsFile.tensor}. */
export function loadSafetensors(path: string): Map<string, Tensor> {
  const file = readSafetensors(path);
  try {
    return new Map(file.names().map((name) => [name, file.tensor(name)]));
  } finally {
    file.close();
  }
}
