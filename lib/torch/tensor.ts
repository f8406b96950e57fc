import { binding, ok, TorchError } from './binding';
import { dtypeCode, dtypes, type DType } from './dtype';
import { freed, track, untrack } from './scope';

/** `int64` values come as numbers; they are exact up to 2^53. */
export type TypedArray =
  Float32Array | Float64Array | BigInt64Array | Int32Array | Uint16Array | Uint8Array;

function other(name: 'add' | 'sub' | 'mul' | 'div' | 'pow', a: Tensor, b: Tensor | number): Tensor {
  return typeof b === 'number'
    ? Tensor.from(binding[`${name}Scalar`](a.id, b))
    : Tensor.from(binding[name](a.id, b.id));
}

function compare(
  name: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge',
  a: Tensor,
  b: Tensor | number,
): Tensor {
  return typeof b === 'number'
    ? Tensor.from(binding[`${name}Scalar`](a.id, b))
    : Tensor.from(binding[name](a.id, b.id));
}

function toDims(dim: number | readonly number[] | undefined): number[] {
  if (dim === undefined) return [];
  return typeof dim === 'number' ? [dim] : [...dim];
}

/**
 * A libtorch tensor. Methods have PyTorch's names and meaning; broadcasting, dtype promotion,
 * negative dimensions and autograd are libtorch's. Shapes are arrays of numbers.
 *
 * A tensor is freed by the scope it was made in, by `dispose()`, or, when made outside of any
 * scope, at the latest by the collector. Using it afterwards throws {@link TorchError}.
 */
export class Tensor {
  /** @internal The index in the addon's table, or `freed`. Shared with the safety net. */
  readonly handle: { id: number };
  /** @internal Which scope's exit it survives; -1 means all. */
  scopeMark = 0;

  /** @internal Use the factories (`tensor`, `zeros`, …). */
  constructor(id: number) {
    this.handle = { id };
    track(this);
  }

  /** @internal */
  static from(result: number | undefined): Tensor {
    return new Tensor(ok(result));
  }

  /** @internal */
  get id(): number {
    return this.handle.id;
  }

  /** Whether it was freed, by `dispose()` or by a scope. */
  get disposed(): boolean {
    return this.handle.id === freed;
  }

  /** Frees this handle; the memory goes when no other tensor or graph needs it. */
  dispose(): void {
    if (this.handle.id === freed) return;
    binding.releaseOne(this.handle.id);
    this.handle.id = freed;
    untrack(this);
  }

  /** `dispose()`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The sizes of the dimensions; `[]` of a single number. */
  get shape(): number[] {
    return ok(binding.shape(this.id));
  }
  /** The element type. */
  get dtype(): DType {
    return dtypes[ok(binding.dtype(this.id))]!;
  }
  /** `cpu`, `cuda:0`, … */
  get device(): string {
    return ok(binding.device(this.id));
  }
  /** The number of elements. */
  get numel(): number {
    return ok(binding.numel(this.id));
  }
  /** Whether the elements lie in memory in row-major order without gaps. */
  get isContiguous(): boolean {
    return ok(binding.isContiguous(this.id));
  }
  /** The size of one dimension. */
  size(dim: number): number {
    return this.shape.at(dim)!;
  }

  // --- autograd

  /** Whether autograd records what is done with it. */
  get requiresGrad(): boolean {
    return ok(binding.requiresGrad(this.id));
  }
  /** Only a leaf of a floating-point dtype can be set. */
  set requiresGrad(value: boolean) {
    ok(binding.setRequiresGrad(this.id, value));
  }
  /** Whether no recorded operation made it: parameters, inputs, all that need no gradient. */
  get isLeaf(): boolean {
    return ok(binding.isLeaf(this.id));
  }
  /** The accumulated gradient, or undefined before a backward pass. */
  get grad(): Tensor | undefined {
    const id = ok(binding.grad(this.id));
    return id === 0 ? undefined : new Tensor(id);
  }
  /** Replaces the gradient, which has this shape and dtype; undefined drops it. */
  set grad(value: Tensor | undefined) {
    ok(binding.setGrad(this.id, value?.id ?? 0));
  }
  /** A view of the same memory, cut off from the graph. */
  detach(): Tensor {
    return Tensor.from(binding.detach(this.id));
  }

  // --- reading

  /** The value of a tensor of one element. */
  item(): number {
    return ok(binding.item(this.id));
  }
  /** The elements in row-major order; bfloat16 and float16 as float32, bool as 0 and 1. */
  toTypedArray(): TypedArray {
    const dtype = this.dtype;
    if (dtype === 'bfloat16' || dtype === 'float16') {
      const wide = this.to('float32');
      const result = wide.toTypedArray();
      wide.dispose();
      return result;
    }
    const n = this.numel;
    const target =
      dtype === 'float32'
        ? new Float32Array(n)
        : dtype === 'float64'
          ? new Float64Array(n)
          : dtype === 'int64'
            ? new BigInt64Array(n)
            : dtype === 'int32'
              ? new Int32Array(n)
              : new Uint8Array(n);
    ok(binding.copyOut(this.id, target));
    return target;
  }
  /** The elements as a flat array of numbers. */
  toArray(): number[] {
    return Array.from(this.toTypedArray() as ArrayLike<number | bigint>, Number);
  }
  /**
   * The bytes as they lie in memory (contiguous, row-major), whatever the dtype.
   * @param into a longer array, of whose beginning a view is returned; a new one unless given
   */
  toBytes(into?: Uint8Array): Uint8Array {
    const bytes = this.contiguous();
    const flat = bytes.shape.length === 0 ? bytes.reshape([1]) : bytes;
    const view = flat.viewDtype('uint8');
    const target = into?.subarray(0, view.numel) ?? new Uint8Array(view.numel);
    ok(binding.copyOut(view.id, target));
    for (const t of new Set([bytes, flat, view])) t.dispose();
    return target;
  }

  // --- arithmetic

  /** Elementwise `this + b`, broadcast. */
  add(b: Tensor | number): Tensor {
    return other('add', this, b);
  }
  /** Elementwise `this - b`, broadcast. */
  sub(b: Tensor | number): Tensor {
    return other('sub', this, b);
  }
  /** Elementwise `this * b`, broadcast. */
  mul(b: Tensor | number): Tensor {
    return other('mul', this, b);
  }
  /** Elementwise `this / b`, broadcast; of integers, too, the quotient is floating-point. */
  div(b: Tensor | number): Tensor {
    return other('div', this, b);
  }
  /** Elementwise `this ** b`, broadcast. */
  pow(b: Tensor | number): Tensor {
    return other('pow', this, b);
  }
  /** The greater of each two elements, broadcast; NaN if one is NaN. */
  maximum(b: Tensor): Tensor {
    return Tensor.from(binding.maximum(this.id, b.id));
  }
  /** The smaller of each two elements, broadcast; NaN if one is NaN. */
  minimum(b: Tensor): Tensor {
    return Tensor.from(binding.minimum(this.id, b.id));
  }
  /** Matrix product over the last two dimensions, leading ones broadcast, as torch.matmul. */
  matmul(b: Tensor): Tensor {
    return Tensor.from(binding.matmul(this.id, b.id));
  }
  /** Batched matrix product: [batch, n, m] times [batch, m, p] is [batch, n, p]. */
  bmm(b: Tensor): Tensor {
    return Tensor.from(binding.bmm(this.id, b.id));
  }
  /** Elementwise `-this`. */
  neg(): Tensor {
    return Tensor.from(binding.neg(this.id));
  }
  /** Elementwise absolute value. */
  abs(): Tensor {
    return Tensor.from(binding.abs(this.id));
  }
  /** Elementwise e to the power of `this`. */
  exp(): Tensor {
    return Tensor.from(binding.exp(this.id));
  }
  /** Elementwise natural logarithm; NaN below 0. */
  log(): Tensor {
    return Tensor.from(binding.log(this.id));
  }
  /** Elementwise square root; NaN below 0. */
  sqrt(): Tensor {
    return Tensor.from(binding.sqrt(this.id));
  }
  /** Elementwise `1 / sqrt(this)`. */
  rsqrt(): Tensor {
    return Tensor.from(binding.rsqrt(this.id));
  }
  /** Elementwise `this * this`. */
  square(): Tensor {
    return Tensor.from(binding.square(this.id));
  }
  /** Elementwise sine, of radians. */
  sin(): Tensor {
    return Tensor.from(binding.sin(this.id));
  }
  /** Elementwise cosine, of radians. */
  cos(): Tensor {
    return Tensor.from(binding.cos(this.id));
  }
  /** Elementwise hyperbolic tangent. */
  tanh(): Tensor {
    return Tensor.from(binding.tanh(this.id));
  }
  /** Elementwise `1 / (1 + exp(-this))`. */
  sigmoid(): Tensor {
    return Tensor.from(binding.sigmoid(this.id));
  }
  /** Elementwise greatest integer that is not above; the dtype stays. */
  floor(): Tensor {
    return Tensor.from(binding.floor(this.id));
  }
  /** Elements below `low` become `low`, those above `high` become `high`. */
  clamp(low: number, high: number): Tensor {
    return Tensor.from(binding.clamp(this.id, low, high));
  }

  // --- comparison and logic

  /** Elementwise `this === b`, broadcast, as bool. */
  eq(b: Tensor | number): Tensor {
    return compare('eq', this, b);
  }
  /** Elementwise `this !== b`, broadcast, as bool. */
  ne(b: Tensor | number): Tensor {
    return compare('ne', this, b);
  }
  /** Elementwise `this < b`, broadcast, as bool. */
  lt(b: Tensor | number): Tensor {
    return compare('lt', this, b);
  }
  /** Elementwise `this <= b`, broadcast, as bool. */
  le(b: Tensor | number): Tensor {
    return compare('le', this, b);
  }
  /** Elementwise `this > b`, broadcast, as bool. */
  gt(b: Tensor | number): Tensor {
    return compare('gt', this, b);
  }
  /** Elementwise `this >= b`, broadcast, as bool. */
  ge(b: Tensor | number): Tensor {
    return compare('ge', this, b);
  }
  /** Elementwise, whether it is zero, as bool. */
  logicalNot(): Tensor {
    return Tensor.from(binding.logicalNot(this.id));
  }
  /** Elementwise, whether neither is zero, broadcast, as bool. */
  logicalAnd(b: Tensor): Tensor {
    return Tensor.from(binding.logicalAnd(this.id, b.id));
  }
  /** Elementwise, whether one or both are not zero, broadcast, as bool. */
  logicalOr(b: Tensor): Tensor {
    return Tensor.from(binding.logicalOr(this.id, b.id));
  }
  /** Elementwise, whether it is NaN, as bool. */
  isnan(): Tensor {
    return Tensor.from(binding.isnan(this.id));
  }
  /** Elementwise, whether it is neither NaN nor infinite, as bool. */
  isfinite(): Tensor {
    return Tensor.from(binding.isfinite(this.id));
  }
  /** Whether any element is not zero. */
  any(): boolean {
    const result = Tensor.from(binding.any(this.id));
    const value = result.item() !== 0;
    result.dispose();
    return value;
  }
  /** Whether no element is zero. */
  all(): boolean {
    const result = Tensor.from(binding.all(this.id));
    const value = result.item() !== 0;
    result.dispose();
    return value;
  }
  /** Same shape and same values. */
  equal(b: Tensor): boolean {
    return ok(binding.equal(this.id, b.id));
  }
  /** Whether |this - b| <= atol + rtol |b| everywhere; NaN is close to nothing. */
  allclose(b: Tensor, rtol: number = 1e-5, atol: number = 1e-8): boolean {
    return ok(binding.allclose(this.id, b.id, rtol, atol));
  }

  // --- reductions; without `dim`, over all elements

  /** Sum; integers and bool add up in int64. */
  sum(dim?: number | readonly number[], keepdim: boolean = false): Tensor {
    return Tensor.from(binding.sum(this.id, toDims(dim), keepdim));
  }
  /** Arithmetic mean, of floating-point elements. */
  mean(dim?: number | readonly number[], keepdim: boolean = false): Tensor {
    return Tensor.from(binding.mean(this.id, toDims(dim), keepdim));
  }
  /** Greatest element; the gradient is shared by equal ones. */
  amax(dim?: number | readonly number[], keepdim: boolean = false): Tensor {
    return Tensor.from(binding.amax(this.id, toDims(dim), keepdim));
  }
  /** Smallest element; the gradient is shared by equal ones. */
  amin(dim?: number | readonly number[], keepdim: boolean = false): Tensor {
    return Tensor.from(binding.amin(this.id, toDims(dim), keepdim));
  }
  /** Variance with Bessel's correction, as torch.var. */
  var(dim?: number | readonly number[], correction: number = 1, keepdim: boolean = false): Tensor {
    return Tensor.from(binding.variance(this.id, toDims(dim), correction, keepdim));
  }
  /** The 2-norm of all elements. */
  norm(): Tensor {
    return Tensor.from(binding.norm(this.id));
  }
  /** Running sum along `dim`. */
  cumsum(dim: number): Tensor {
    return Tensor.from(binding.cumsum(this.id, dim));
  }
  /** Index (int64) of the greatest element along `dim`. */
  argmax(dim: number, keepdim: boolean = false): Tensor {
    return Tensor.from(binding.argmax(this.id, dim, keepdim));
  }
  /** The k greatest elements along `dim`, greatest first, and their indices (int64). */
  topk(k: number, dim: number = -1): { values: Tensor; indices: Tensor } {
    const [values, indices] = ok(binding.topk(this.id, k, dim));
    return { values: new Tensor(values), indices: new Tensor(indices) };
  }
  /** The elements sorted along `dim`, and where they were (int64); not a stable sort. */
  sort(dim: number = -1, descending: boolean = false): { values: Tensor; indices: Tensor } {
    const [values, indices] = ok(binding.sort(this.id, dim, descending));
    return { values: new Tensor(values), indices: new Tensor(indices) };
  }

  // --- shape

  /** The same elements in another shape, one size of which may be -1; a view where it can be. */
  reshape(shape: readonly number[]): Tensor {
    return Tensor.from(binding.reshape(this.id, shape));
  }
  /** A view with the dimensions in the order given. */
  permute(dims: readonly number[]): Tensor {
    return Tensor.from(binding.permute(this.id, dims));
  }
  /** A view with two dimensions exchanged. */
  transpose(x: number, y: number): Tensor {
    return Tensor.from(binding.transpose(this.id, x, y));
  }
  /** A view with a new dimension of size 1 at `dim`. */
  unsqueeze(dim: number): Tensor {
    return Tensor.from(binding.unsqueeze(this.id, dim));
  }
  /** A view without dimension `dim`, if its size is 1; otherwise the same. */
  squeeze(dim: number): Tensor {
    return Tensor.from(binding.squeeze(this.id, dim));
  }
  /** A view in which dimensions of size 1 are repeated to `shape`; -1 keeps a size. */
  expand(shape: readonly number[]): Tensor {
    return Tensor.from(binding.expand(this.id, shape));
  }
  /** Dimensions `start` to `end` (inclusive) as one; a view where it can be. */
  flatten(start: number = 0, end: number = -1): Tensor {
    return Tensor.from(binding.flatten(this.id, start, end));
  }
  /** The same elements in row-major order; a copy only if they are not yet. */
  contiguous(): Tensor {
    return Tensor.from(binding.contiguous(this.id));
  }
  /** A copy; gradients flow through it. */
  clone(): Tensor {
    return Tensor.from(binding.clone(this.id));
  }
  /** Another dtype, another device (`cpu`, `cuda:0`), or both. */
  to(dtype: DType, device?: string): Tensor {
    return Tensor.from(binding.to(this.id, dtypeCode(dtype), device ?? this.device));
  }
  /** The same bytes read as another dtype; the last dimension changes with the size. */
  viewDtype(dtype: DType): Tensor {
    return Tensor.from(binding.viewDtype(this.id, dtypeCode(dtype)));
  }
  /** Each slice along `dim` `repeats` times in a row. */
  repeatInterleave(repeats: number, dim: number): Tensor {
    return Tensor.from(binding.repeatInterleave(this.id, repeats, dim));
  }
  /** A copy with the order along `dims` reversed. */
  flip(dims: readonly number[]): Tensor {
    return Tensor.from(binding.flip(this.id, dims));
  }
  /** The lower triangle of the last two dimensions, zero above the given diagonal. */
  tril(diagonal: number = 0): Tensor {
    return Tensor.from(binding.tril(this.id, diagonal));
  }
  /** The upper triangle of the last two dimensions, zero below the given diagonal. */
  triu(diagonal: number = 0): Tensor {
    return Tensor.from(binding.triu(this.id, diagonal));
  }
  /** Views of `sizes` along `dim`, which must add up to its size. */
  split(sizes: readonly number[], dim: number): Tensor[] {
    return ok(binding.split(this.id, sizes, dim)).map((id) => new Tensor(id));
  }
  /** Constant padding; `pad` lists [before, after] from the last dimension backwards. */
  pad(pad: readonly number[], value: number = 0): Tensor {
    return Tensor.from(binding.pad(this.id, pad, value));
  }

  // --- indexing

  /** The view at `index` of `dim`, without that dimension. */
  select(dim: number, index: number): Tensor {
    return Tensor.from(binding.select(this.id, dim, index));
  }
  /** A view of `length` positions from `start` along `dim`. */
  narrow(dim: number, start: number, length: number): Tensor {
    return Tensor.from(binding.narrow(this.id, dim, start, length));
  }
  /**
   * A view of `start` up to, not including, `end` along `dim`, as Python slices: negative from the
   * end.
   */
  slice(
    dim: number,
    start: number,
    end: number = Number.MAX_SAFE_INTEGER,
    step: number = 1,
  ): Tensor {
    return Tensor.from(binding.slice(this.id, dim, start, end, step));
  }
  /** A copy of the positions along `dim` that `index` (integers, one dimension) lists. */
  indexSelect(dim: number, index: Tensor): Tensor {
    return Tensor.from(binding.indexSelect(this.id, dim, index.id));
  }
  /** Advanced indexing by integer or boolean tensors over the leading dimensions. */
  index(indices: readonly Tensor[]): Tensor {
    return Tensor.from(
      binding.index(
        this.id,
        indices.map((t) => t.id),
      ),
    );
  }
  /** Of two dimensions and `dim` 0: result[i][j] = this[index[i][j]][j]; int64 `index`. */
  gather(dim: number, index: Tensor): Tensor {
    return Tensor.from(binding.gather(this.id, dim, index.id));
  }
  /**
   * A copy with, of two dimensions and `dim` 0, copy[index[i][j]][j] = source[i][j]; int64 `index`.
   */
  scatter(dim: number, index: Tensor, source: Tensor): Tensor {
    return Tensor.from(binding.scatter(this.id, dim, index.id, source.id));
  }
  /** A copy with the slices of `source` along `dim` added at the positions in `index`. */
  indexAdd(dim: number, index: Tensor, source: Tensor): Tensor {
    return Tensor.from(binding.indexAdd(this.id, dim, index.id, source.id));
  }
  /**
   * A copy with the slices of `source` along `dim` in place of those at the positions in `index`.
   */
  indexCopy(dim: number, index: Tensor, source: Tensor): Tensor {
    return Tensor.from(binding.indexCopy(this.id, dim, index.id, source.id));
  }
  /** A copy with `value` where `mask` (bool, broadcast) is true. */
  maskedFill(mask: Tensor, value: number): Tensor {
    return Tensor.from(binding.maskedFill(this.id, mask.id, value));
  }
  /** The elements where `mask` (bool, broadcast) is true, in one dimension. */
  maskedSelect(mask: Tensor): Tensor {
    return Tensor.from(binding.maskedSelect(this.id, mask.id));
  }
  /**
   * A copy that takes the elements of `source` in their order where `mask` (bool, broadcast) is
   * true.
   */
  maskedScatter(mask: Tensor, source: Tensor): Tensor {
    return Tensor.from(binding.maskedScatter(this.id, mask.id, source.id));
  }
  /** The indices of the elements that are not zero: int64 [count, dimensions]. */
  nonzero(): Tensor {
    return Tensor.from(binding.nonzero(this.id));
  }

  // --- in place

  /** Takes the values of `b`, broadcast, converted to this dtype and device. */
  copy_(b: Tensor): this {
    ok(binding.copy_(this.id, b.id));
    return this;
  }
  /** Sets all elements to 0. */
  zero_(): this {
    ok(binding.zero_(this.id));
    return this;
  }
  /** Sets all elements to `value`. */
  fill_(value: number): this {
    ok(binding.fill_(this.id, value));
    return this;
  }
  /** Adds `alpha * b`, broadcast. */
  add_(b: Tensor, alpha: number = 1): this {
    ok(binding.add_(this.id, b.id, alpha));
    return this;
  }
  /** Multiplies by `factor`. */
  mul_(factor: number): this {
    ok(binding.mul_(this.id, factor));
    return this;
  }

  /** Dtype, shape and device, as `Tensor(float32, [2, 3], cpu)`; no values. */
  toString(): string {
    return this.disposed
      ? 'Tensor(disposed)'
      : `Tensor(${this.dtype}, [${this.shape.join(', ')}], ${this.device})`;
  }
}

export { TorchError };
