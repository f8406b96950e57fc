import { writeFileAtomicStream } from '../files';
import { dtypeSize, type DType } from './dtype';
import { formatHeader, SafetensorsError } from './safetensors-header';
import { scope } from './scope';
import { Tensor } from './tensor';

/** A tensor that is made only when its turn to be written comes. */
export interface TensorSource {
  dtype: DType;
  shape: readonly number[];
  /**
   * Appends the elements' bytes in row-major order, in chunks of any size.
   * @param scratch 8 MB for chunks, which are written before `append` returns: thousands of arrays of
   * their own are garbage that is collected late
   */
  write(append: (chunk: Uint8Array) => void, scratch: Uint8Array): void;
}

const chunkBytes = 1 << 23;

/**
 * Writes tensors in the order given, whole or not at all, one at a time in bounded memory. The
 * same arguments give the same bytes. It may replace the file that its tensors are mapped from.
 * @param headerLength bytes of the header at least; it is padded
 * @throws SafetensorsError for a name given twice or a source that writes too much or too little,
 * FileError (full disk, …) naming the file; nothing is left behind.
 */
export function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, Tensor | TensorSource]>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
  headerLength: number = 0,
): void {
  const entries = Array.from(tensors, ([name, value]) => {
    const source = value instanceof Tensor ? sourceOf(value) : value;
    const { dtype, shape } = source;
    const bytes = shape.reduce((product, size) => product * size, dtypeSize[dtype]);
    return [name, { dtype, shape, bytes, source }] as const;
  });
  const seen = new Set(['__metadata__']);
  for (const [name] of entries) {
    if (seen.has(name)) {
      throw new SafetensorsError(
        `cannot write ${path}: the name ${name} is taken; rename a tensor`,
      );
    }
    seen.add(name);
  }
  const scratch = new Uint8Array(chunkBytes);
  writeFileAtomicStream(path, (append) => {
    append(formatHeader(metadata, entries, headerLength));
    for (const [name, { bytes, source }] of entries) {
      let written = 0;
      source.write((chunk) => {
        written += chunk.byteLength;
        if (written <= bytes) append(chunk);
      }, scratch);
      if (written !== bytes) {
        throw new SafetensorsError(
          `cannot write ${path}: tensor ${name} gave ${written} bytes, its shape needs ${bytes}`,
        );
      }
    }
  });
}

/** A tensor's elements, converted to `dtype` on the way, some at a time. */
export function sourceOf(tensor: Tensor, dtype: DType = tensor.dtype): TensorSource {
  return {
    dtype,
    shape: tensor.shape,
    write(append, scratch) {
      const sizes = [tensor.dtype, dtype].map((one) => dtypeSize[one]);
      const rows = Math.floor(scratch.byteLength / Math.max(...sizes));
      scope(() => {
        const flat = tensor.detach().reshape([-1]);
        for (let at = 0; at < flat.numel; at += rows) {
          append(
            scope(() => {
              const some = flat.narrow(0, at, Math.min(rows, flat.numel - at));
              return (some.dtype === dtype ? some : some.to(dtype)).toBytes(scratch);
            }),
          );
        }
      });
    },
  };
}
