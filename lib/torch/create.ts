import { binding, ok } from './binding';
import { dtypeCode, type DType } from './dtype';
import { Tensor, TorchError, type TypedArray } from './tensor';

/** What a new tensor is; float32 on the CPU by default, or as the function says. */
export interface TensorOptions {
  dtype?: DType;
  device?: string;
}

/** Numbers nested to the tensor's shape. */
export type NestedNumbers = number | readonly NestedNumbers[];

const typedDtypes: readonly [abstract new (...args: never[]) => TypedArray, DType][] = [
  [Float32Array, 'float32'],
  [Float64Array, 'float64'],
  [BigInt64Array, 'int64'],
  [Int32Array, 'int32'],
  [Uint8Array, 'uint8'],
];

function nestedShape(data: NestedNumbers): number[] {
  const shape: number[] = [];
  for (let at = data; Array.isArray(at); at = at[0] as NestedNumbers) {
    shape.push(at.length);
    if (at.length === 0) break;
  }
  return shape;
}

function encode(values: readonly number[], dtype: DType): TypedArray {
  switch (dtype) {
    case 'int64':
      return BigInt64Array.from(values, (v) => BigInt(Math.trunc(v)));
    case 'int32':
      return Int32Array.from(values);
    case 'uint8':
      return Uint8Array.from(values);
    case 'bool':
      return Uint8Array.from(values, (v) => (v === 0 ? 0 : 1));
    case 'float64':
      return Float64Array.from(values);
    default:
      return Float32Array.from(values);
  }
}

/**
 * A tensor from numbers (nested arrays give the shape; float32 unless said otherwise) or from a
 * typed array (its own dtype, one dimension, unless `shape` is given).
 */
export function tensor(
  data: NestedNumbers | TypedArray,
  options: TensorOptions & { shape?: readonly number[]; requiresGrad?: boolean } = {},
): Tensor {
  let result: Tensor;
  if (ArrayBuffer.isView(data)) {
    const own = typedDtypes.find(([type]) => data instanceof type)?.[1];
    if (own === undefined) throw new TorchError('tensor: unsupported kind of typed array');
    result = fromBytes(data, own, options.shape ?? [data.length]);
    if (options.dtype !== undefined && options.dtype !== own) result = cast(result, options);
  } else {
    const shape = options.shape ?? nestedShape(data);
    const flat = (Array.isArray(data) ? data.flat(Infinity) : [data]) as number[];
    const dtype = options.dtype ?? 'float32';
    const half = dtype === 'bfloat16' || dtype === 'float16';
    result = fromBytes(encode(flat, dtype), half ? 'float32' : dtype, shape);
    if (half) result = cast(result, options);
  }
  if (options.device !== undefined && options.device !== 'cpu') result = cast(result, options);
  if (options.requiresGrad) result.requiresGrad = true;
  return result;
}

function cast(source: Tensor, options: TensorOptions): Tensor {
  const result = source.to(options.dtype ?? source.dtype, options.device ?? 'cpu');
  source.dispose();
  return result;
}

/** A tensor of `dtype` and `shape` from the bytes of a typed array, which are copied. */
export function fromBytes(data: ArrayBufferView, dtype: DType, shape: readonly number[]): Tensor {
  return Tensor.from(binding.fromBytes(data, dtypeCode(dtype), shape));
}

function optionsOf(options: TensorOptions): [number, string] {
  return [dtypeCode(options.dtype ?? 'float32'), options.device ?? 'cpu'];
}

/** A tensor whose values are not set: whatever was in the memory. */
export function empty(shape: readonly number[], options: TensorOptions = {}): Tensor {
  return Tensor.from(binding.empty(shape, ...optionsOf(options)));
}
/** A tensor of zeros. */
export function zeros(shape: readonly number[], options: TensorOptions = {}): Tensor {
  return Tensor.from(binding.zeros(shape, ...optionsOf(options)));
}
/** A tensor of ones. */
export function ones(shape: readonly number[], options: TensorOptions = {}): Tensor {
  return Tensor.from(binding.ones(shape, ...optionsOf(options)));
}
/** A tensor in which every element is `value`. */
export function full(shape: readonly number[], value: number, options: TensorOptions = {}): Tensor {
  return Tensor.from(binding.full(shape, value, ...optionsOf(options)));
}
/** Integers (int64) from `start` up to, not including, `end`; another dtype by option. */
export function arange(
  start: number,
  end: number,
  options: TensorOptions & { step?: number } = {},
): Tensor {
  const [dtype, device] = optionsOf({ dtype: 'int64', ...options });
  return Tensor.from(binding.arange(start, end, options.step ?? 1, dtype, device));
}
/** Zeros of the shape, dtype and device of `a`. */
export function zerosLike(a: Tensor): Tensor {
  return zeros(a.shape, { dtype: a.dtype, device: a.device });
}
/** Tensors one after another along an existing dimension; the other sizes must agree. */
export function cat(tensors: readonly Tensor[], dim: number = 0): Tensor {
  const ids = tensors.map((t) => t.id);
  return Tensor.from(binding.cat(ids, dim));
}
/** Tensors of one shape along a new dimension `dim`. */
export function stack(tensors: readonly Tensor[], dim: number = 0): Tensor {
  const ids = tensors.map((t) => t.id);
  return Tensor.from(binding.stack(ids, dim));
}
/** `a` where `condition` (bool) is true, `b` elsewhere; all broadcast. */
export function where(condition: Tensor, a: Tensor, b: Tensor): Tensor {
  return Tensor.from(binding.where(condition.id, a.id, b.id));
}

/** Threads that libtorch uses inside an operation. */
export function numThreads(): number {
  return binding.getNumThreads();
}
/** Sets the threads that libtorch uses inside an operation, at least 1. */
export function setNumThreads(n: number): void {
  ok(binding.setNumThreads(n));
}
/** The version of libtorch that the addon was built against, as `2.13.0`. */
export function torchVersion(): string {
  return binding.torchVersion();
}
