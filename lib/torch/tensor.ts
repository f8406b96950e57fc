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

  [Symbol.dispose](): void {
    this.dispose();
  }

  get shape(): number[] {
    return ok(binding.shape(this.id));
  }
  get dtype(): DType {
    return dtypes[ok(binding.dtype(this.id))]!;
  }
  get device(): string {
    return ok(binding.device(this.id));
  }
  get numel(): number {
    return ok(binding.numel(this.id));
  }
  get isContiguous(): boolean {
    return ok(binding.isContiguous(this.id));
  }
  /** The size of one dimension. */
  size(dim: number): number {
    return this.shape.at(dim)!;
  }

  // --- autograd

  get requiresGrad(): boolean {
    return ok(binding.requiresGrad(this.id));
  }
  set requiresGrad(value: boolean) {
    ok(binding.setRequiresGrad(this.id, value));
  }
  get isLeaf(): boolean {
    return ok(binding.isLeaf(this.id));
  }
  /** The accumulated gradient, or undefined before a backward pass. */
  get grad(): Tensor | undefined {
    const id = ok(binding.grad(this.id));
    return id === 0 ? undefined : new Tensor(id);
  }
  set grad(value: Tensor | undefined) {
    ok(binding.setGrad(this.id, value?.id ?? 0));
  }
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
  /** The bytes as they lie in memory (contiguous, row-major), whatever the dtype. */
  toBytes(): Uint8Array {
    const bytes = this.contiguous();
    const flat = bytes.shape.length === 0 ? bytes.reshape([1]) : bytes;
    const view = flat.viewDtype('uint8');
    const target = new Uint8Array(view.numel);
    ok(binding.copyOut(view.id, target));
    for (const t of new Set([bytes, flat, view])) t.dispose();
    return target;
  }

  // --- arithmetic

  add(b: Tensor | number): Tensor {
    return other('add', this, b);
  }
  sub(b: Tensor | number): Tensor {
    return other('sub', this, b);
  }
  mul(b: Tensor | number): Tensor {
    return other('mul', this, b);
  }
  div(b: Tensor | number): Tensor {
    return other('div', this, b);
  }
  pow(b: Tensor | number): Tensor {
    return other('pow', this, b);
  }
  maximum(b: Tensor): Tensor {
    return Tensor.from(binding.maximum(this.id, b.id));
  }
  minimum(b: Tensor): Tensor {
    return Tensor.from(binding.minimum(this.id, b.id));
  }
  matmul(b: Tensor): Tensor {
    return Tensor.from(binding.matmul(this.id, b.id));
  }
  bmm(b: Tensor): Tensor {
    return Tensor.from(binding.bmm(this.id, b.id));
  }
  neg(): Tensor {
    return Tensor.from(binding.neg(this.id));
  }
  abs(): Tensor {
    return Tensor.from(binding.abs(this.id));
  }
  exp(): Tensor {
    return Tensor.from(binding.exp(this.id));
  }
  log(): Tensor {
    return Tensor.from(binding.log(this.id));
  }
  sqrt(): Tensor {
    return Tensor.from(binding.sqrt(this.id));
  }
  rsqrt(): Tensor {
    return Tensor.from(binding.rsqrt(this.id));
  }
  square(): Tensor {
    return Tensor.from(binding.square(this.id));
  }
  sin(): Tensor {
    return Tensor.from(binding.sin(this.id));
  }
  cos(): Tensor {
    return Tensor.from(binding.cos(this.id));
  }
  tanh(): Tensor {
    return Tensor.from(binding.tanh(this.id));
  }
  sigmoid(): Tensor {
    return Tensor.from(binding.sigmoid(this.id));
  }
  floor(): Tensor {
    return Tensor.from(binding.floor(this.id));
  }
  clamp(low: number, high: number): Tensor {
    return Tensor.from(binding.clamp(this.id, low, high));
  }

  // --- comparison and logic

  eq(b: Tensor | number): Tensor {
    return compare('eq', this, b);
  }
  ne(b: Tensor | number): Tensor {
    return compare('ne', this, b);
  }
  lt(b: Tensor | number): Tensor {
    return compare('lt', this, b);
  }
  le(b: Tensor | number): Tensor {
    return compare('le', this, b);
  }
  gt(b: Tensor | number): Tensor {
    return compare('gt', this, b);
  }
  ge(b: Tensor | number): Tensor {
    return compare('ge', this, b);
  }
  logicalNot(): Tensor {
    return Tensor.from(binding.logicalNot(this.id));
  }
  logicalAnd(b: Tensor): Tensor {
    return Tensor.from(binding.logicalAnd(this.id, b.id));
  }
  logicalOr(b: Tensor): Tensor {
    return Tensor.from(binding.logicalOr(this.id, b.id));
  }
  isnan(): Tensor {
    return Tensor.from(binding.isnan(this.id));
  }
  isfinite(): Tensor {
    return Tensor.from(binding.isfinite(this.id));
  }
  any(): boolean {
    const result = Tensor.from(binding.any(this.id));
    const value = result.item() !== 0;
    result.dispose();
    return value;
  }
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
  allclose(b: Tensor, rtol: number = 1e-5, atol: number = 1e-8): boolean {
    return ok(binding.allclose(this.id, b.id, rtol, atol));
  }

  // --- reductions; without `dim`, over all elements

  sum(dim?: number | readonly number[], keepdim: boolean = false): Tensor {
    return Tensor.from(binding.sum(this.id, toDims(dim), keepdim));
  }
  mean(dim?: number | readonly number[], keepdim: boolean = false): Tensor {
    return Tensor.from(binding.mean(this.id, toDims(dim), keepdim));
  }
  amax(dim?: number | readonly number[], keepdim: boolean = false): Tensor {
    return Tensor.from(binding.amax(this.id, toDims(dim), keepdim));
  }
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
  cumsum(dim: number): Tensor {
    return Tensor.from(binding.cumsum(this.id, dim));
  }
  argmax(dim: number, keepdim: boolean = false): Tensor {
    return Tensor.from(binding.argmax(this.id, dim, keepdim));
  }
  topk(k: number, dim: number = -1): { values: Tensor; indices: Tensor } {
    const [values, indices] = ok(binding.topk(this.id, k, dim));
    return { values: new Tensor(values), indices: new Tensor(indices) };
  }
  sort(dim: number = -1, descending: boolean = false): { values: Tensor; indices: Tensor } {
    const [values, indices] = ok(binding.sort(this.id, dim, descending));
    return { values: new Tensor(values), indices: new Tensor(indices) };
  }

  // --- shape

  reshape(shape: readonly number[]): Tensor {
    return Tensor.from(binding.reshape(this.id, shape));
  }
  permute(dims: readonly number[]): Tensor {
    return Tensor.from(binding.permute(this.id, dims));
  }
  transpose(x: number, y: number): Tensor {
    return Tensor.from(binding.transpose(this.id, x, y));
  }
  unsqueeze(dim: number): Tensor {
    return Tensor.from(binding.unsqueeze(this.id, dim));
  }
  squeeze(dim: number): Tensor {
    return Tensor.from(binding.squeeze(this.id, dim));
  }
  expand(shape: readonly number[]): Tensor {
    return Tensor.from(binding.expand(this.id, shape));
  }
  flatten(start: number = 0, end: number = -1): Tensor {
    return Tensor.from(binding.flatten(this.id, start, end));
  }
  contiguous(): Tensor {
    return Tensor.from(binding.contiguous(this.id));
  }
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
  repeatInterleave(repeats: number, dim: number): Tensor {
    return Tensor.from(binding.repeatInterleave(this.id, repeats, dim));
  }
  flip(dims: readonly number[]): Tensor {
    return Tensor.from(binding.flip(this.id, dims));
  }
  tril(diagonal: number = 0): Tensor {
    return Tensor.from(binding.tril(this.id, diagonal));
  }
  triu(diagonal: number = 0): Tensor {
    return Tensor.from(binding.triu(this.id, diagonal));
  }
  split(sizes: readonly number[], dim: number): Tensor[] {
    return ok(binding.split(this.id, sizes, dim)).map((id) => new Tensor(id));
  }
  /** Constant padding; `pad` lists [before, after] from the last dimension backwards. */
  pad(pad: readonly number[], value: number = 0): Tensor {
    return Tensor.from(binding.pad(this.id, pad, value));
  }

  // --- indexing

  select(dim: number, index: number): Tensor {
    return Tensor.from(binding.select(this.id, dim, index));
  }
  narrow(dim: number, start: number, length: number): Tensor {
    return Tensor.from(binding.narrow(this.id, dim, start, length));
  }
  slice(
    dim: number,
    start: number,
    end: number = Number.MAX_SAFE_INTEGER,
    step: number = 1,
  ): Tensor {
    return Tensor.from(binding.slice(this.id, dim, start, end, step));
  }
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
  gather(dim: number, index: Tensor): Tensor {
    return Tensor.from(binding.gather(this.id, dim, index.id));
  }
  scatter(dim: number, index: Tensor, source: Tensor): Tensor {
    return Tensor.from(binding.scatter(this.id, dim, index.id, source.id));
  }
  indexAdd(dim: number, index: Tensor, source: Tensor): Tensor {
    return Tensor.from(binding.indexAdd(this.id, dim, index.id, source.id));
  }
  indexCopy(dim: number, index: Tensor, source: Tensor): Tensor {
    return Tensor.from(binding.indexCopy(this.id, dim, index.id, source.id));
  }
  maskedFill(mask: Tensor, value: number): Tensor {
    return Tensor.from(binding.maskedFill(this.id, mask.id, value));
  }
  maskedSelect(mask: Tensor): Tensor {
    return Tensor.from(binding.maskedSelect(this.id, mask.id));
  }
  maskedScatter(mask: Tensor, source: Tensor): Tensor {
    return Tensor.from(binding.maskedScatter(this.id, mask.id, source.id));
  }
  nonzero(): Tensor {
    return Tensor.from(binding.nonzero(this.id));
  }

  // --- in place

  copy_(b: Tensor): this {
    ok(binding.copy_(this.id, b.id));
    return this;
  }
  zero_(): this {
    ok(binding.zero_(this.id));
    return this;
  }
  fill_(value: number): this {
    ok(binding.fill_(this.id, value));
    return this;
  }
  add_(b: Tensor, alpha: number = 1): this {
    ok(binding.add_(this.id, b.id, alpha));
    return this;
  }
  mul_(factor: number): this {
    ok(binding.mul_(this.id, factor));
    return this;
  }

  toString(): string {
    return this.disposed
      ? 'Tensor(disposed)'
      : `Tensor(${this.dtype}, [${this.shape.join(', ')}], ${this.device})`;
  }
}

export { TorchError };
