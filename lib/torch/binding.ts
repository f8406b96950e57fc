/**
 * The one file that loads the addon and declares what it exports. Tensors are integers here (an
 * index into the addon's table; 0 means "none"); nothing outside lib/torch and lib/nf4 sees them.
 *
 * A call that fails returns `undefined` and leaves its message with `takeError`, so that the error
 * is made in this realm, with a JavaScript stack.
 */
import { PareError } from '../errors';
import { loadAddon } from './load-addon';
import { tellWarnings } from './warnings';

/** libtorch refused an operation: wrong shapes, dtypes, a disposed tensor, no memory. */
export class TorchError extends PareError {}

type Id = number;
type Result<T> = T | undefined;
type Unary = (a: Id) => Result<Id>;
type Binary = (a: Id, b: Id) => Result<Id>;
type WithScalar = (a: Id, b: number) => Result<Id>;
type Reduce = (a: Id, dims: number[], keepdim: boolean) => Result<Id>;

/** What an asynchronous call ends with: a message, or a value. */
export type Callback<T> = (error: string | undefined, value: T) => void;

/** A weight in NF4, as the addon takes it; 0 for what is not nested. */
export type PackedWeight = [
  packed: Id,
  absmax: Id,
  nestedAbsmax: Id,
  nestedQuantMap: Id,
  nestedOffset: number,
  blockSize: number,
];

export interface Binding {
  // native/bridge/tensor.cc
  takeError(): string;
  release(ids: Uint32Array): Result<true>;
  releaseOne(id: Id): Result<true>;
  handles(): number;
  bytes(): number;
  emptyCache(): Result<true>;
  blocks(): Result<[used: number, mapped: number]>;
  fromBytes(data: ArrayBufferView, dtype: number, shape: readonly number[]): Result<Id>;
  copyOut(a: Id, target: ArrayBufferView): Result<true>;
  item(a: Id): Result<number>;
  shape(a: Id): Result<number[]>;
  dtype(a: Id): Result<number>;
  device(a: Id): Result<string>;
  numel(a: Id): Result<number>;
  isContiguous(a: Id): Result<boolean>;
  alias: Unary;
  getNumThreads(): number;
  setNumThreads(n: number): Result<true>;
  torchVersion(): string;
  cudaDeviceCount(): number;
  cudaIsAvailable(): boolean;
  // native/cuda/register.cc; absent from builds without nvcc
  cudaSynchronize?: () => Result<true>;
  cudaDeviceName?: () => Result<string>;
  cudaSetDevice?: (index: number) => Result<true>;
  cudaFreeMemory?: (index: number) => Result<number>;
  cudaGraphBegin?: () => Result<number>;
  cudaGraphEnd?: (graph: number) => Result<true>;
  cudaGraphReplay?: (graph: number) => Result<true>;
  cudaGraphRelease?: (graph: number) => Result<true>;
  // native/distributed; what waits calls back, and keeps the process going until then
  distributedBackends(): string[];
  storeOpen(
    host: string,
    port: number,
    isServer: boolean,
    timeout: number,
    callback: Callback<Id>,
  ): Result<true>;
  storePort(store: Id): Result<number>;
  storeWithin(store: Id, prefix: string): Result<Id>;
  storeSet(store: Id, key: string, value: string, callback: Callback<undefined>): Result<true>;
  storeGet(store: Id, keys: string[], callback: Callback<(string | null)[]>): Result<true>;
  storeAdd(store: Id, key: string, amount: number, callback: Callback<number>): Result<true>;
  storeCompareSet(
    store: Id,
    key: string,
    expected: string,
    desired: string,
    callback: Callback<string>,
  ): Result<true>;
  storeBeat(store: Id, key: string, interval: number): Result<true>;
  storeClose(store: Id): Result<true>;
  groupOpen(
    store: Id,
    prefix: string,
    backend: string,
    rank: number,
    size: number,
    localRank: number,
    timeout: number,
    host: string,
    port: number,
    callback: Callback<Id>,
  ): Result<true>;
  groupAllReduce(group: Id, a: Id, op: string): Result<Id>;
  groupBroadcast(group: Id, a: Id, root: number): Result<Id>;
  groupAllGather(group: Id, outputs: Id[], input: Id): Result<Id>;
  groupBarrier(group: Id): Result<Id>;
  workWait(work: Id, callback: Callback<true>): Result<true>;
  groupClose(group: Id): Result<true>;
  reducerOpen(group: Id, parameters: Id[], buckets: number[]): Result<Id>;
  reducerArm(reducer: Id): Result<true>;
  reducerFinish(reducer: Id, callback: Callback<number>): Result<true>;
  reducerClose(reducer: Id): Result<true>;
  // native/bridge/autograd.cc
  setGradEnabled(enabled: boolean): Result<true>;
  isGradEnabled(): boolean;
  setAutocast(enabled: boolean): Result<true>;
  requiresGrad(a: Id): Result<boolean>;
  setRequiresGrad(a: Id, value: boolean): Result<true>;
  isLeaf(a: Id): Result<boolean>;
  grad: Unary;
  setGrad(a: Id, grad: Id): Result<true>;
  detach: Unary;
  backward(outputs: Id[], gradients: Id[]): Result<true>;
  autogradGrad(outputs: Id[], inputs: Id[], gradients: Id[]): Result<Id[]>;
  zeroGrad(parameters: Id[]): Result<true>;
  sumGradInFloat32(parameters: Id[]): Result<true>;
  // native/bridge/warnings.cc
  onWarning(listener: (message: string) => void): Result<true>;
  // native/ops/chunked_loss.cc
  linearCrossEntropySum(
    hidden: Id,
    weight: Id,
    targets: Id,
    ignoreIndex: number,
    chunkSize: number,
  ): Result<Id>;
  linearDivergenceSum(
    hidden: Id,
    weight: Id,
    teacherHidden: Id,
    teacherWeight: Id,
    kind: string,
    beta: number,
    temperature: number,
    chunkSize: number,
  ): Result<Id>;
  linearTopKDivergenceSum(
    hidden: Id,
    weight: Id,
    topLogits: Id,
    topIds: Id,
    temperature: number,
    chunkSize: number,
  ): Result<Id>;
  // native/ops/random.cc; generator -1 is libtorch's default
  generator(seed: number): Result<number>;
  seedGenerator(generator: number, seed: number): Result<true>;
  manualSeed(seed: number): Result<true>;
  generatorState(generator: number): Result<Id>;
  setGeneratorState(generator: number, state: Id): Result<true>;
  rand(shape: readonly number[], dtype: number, generator: number): Result<Id>;
  randn(shape: readonly number[], dtype: number, generator: number): Result<Id>;
  randint(low: number, high: number, shape: readonly number[], generator: number): Result<Id>;
  randperm(n: number, generator: number): Result<Id>;
  multinomial(weights: Id, n: number, replacement: boolean, generator: number): Result<Id>;
  // native/ops/math.cc
  add: Binary;
  addScalar: WithScalar;
  sub: Binary;
  subScalar: WithScalar;
  mul: Binary;
  mulScalar: WithScalar;
  div: Binary;
  divScalar: WithScalar;
  pow: Binary;
  powScalar: WithScalar;
  maximum: Binary;
  minimum: Binary;
  matmul: Binary;
  bmm: Binary;
  neg: Unary;
  abs: Unary;
  exp: Unary;
  log: Unary;
  sqrt: Unary;
  rsqrt: Unary;
  square: Unary;
  sin: Unary;
  cos: Unary;
  tanh: Unary;
  sigmoid: Unary;
  floor: Unary;
  clamp(a: Id, low: number, high: number): Result<Id>;
  isnan: Unary;
  isfinite: Unary;
  logicalNot: Unary;
  logicalAnd: Binary;
  logicalOr: Binary;
  eq: Binary;
  eqScalar: WithScalar;
  ne: Binary;
  neScalar: WithScalar;
  lt: Binary;
  ltScalar: WithScalar;
  le: Binary;
  leScalar: WithScalar;
  gt: Binary;
  gtScalar: WithScalar;
  ge: Binary;
  geScalar: WithScalar;
  sum: Reduce;
  mean: Reduce;
  amax: Reduce;
  amin: Reduce;
  variance(a: Id, dims: number[], correction: number, keepdim: boolean): Result<Id>;
  norm: Unary;
  cumsum(a: Id, dim: number): Result<Id>;
  argmax(a: Id, dim: number, keepdim: boolean): Result<Id>;
  topk(a: Id, k: number, dim: number): Result<[Id, Id]>;
  sort(a: Id, dim: number, descending: boolean): Result<[Id, Id]>;
  any: Unary;
  all: Unary;
  equal(a: Id, b: Id): Result<boolean>;
  allclose(a: Id, b: Id, rtol: number, atol: number): Result<boolean>;
  copy_(a: Id, b: Id): Result<true>;
  zero_(a: Id): Result<true>;
  fill_(a: Id, value: number): Result<true>;
  add_(a: Id, b: Id, alpha: number): Result<true>;
  mul_(a: Id, factor: number): Result<true>;
  // native/ops/shape.cc
  empty(shape: readonly number[], dtype: number, device: string): Result<Id>;
  zeros(shape: readonly number[], dtype: number, device: string): Result<Id>;
  ones(shape: readonly number[], dtype: number, device: string): Result<Id>;
  full(shape: readonly number[], value: number, dtype: number, device: string): Result<Id>;
  arange(start: number, end: number, step: number, dtype: number, device: string): Result<Id>;
  reshape(a: Id, shape: readonly number[]): Result<Id>;
  permute(a: Id, dims: readonly number[]): Result<Id>;
  transpose(a: Id, x: number, y: number): Result<Id>;
  unsqueeze(a: Id, dim: number): Result<Id>;
  squeeze(a: Id, dim: number): Result<Id>;
  expand(a: Id, shape: readonly number[]): Result<Id>;
  flatten(a: Id, start: number, end: number): Result<Id>;
  contiguous: Unary;
  clone: Unary;
  to(a: Id, dtype: number, device: string): Result<Id>;
  viewDtype(a: Id, dtype: number): Result<Id>;
  repeatInterleave(a: Id, repeats: number, dim: number): Result<Id>;
  flip(a: Id, dims: readonly number[]): Result<Id>;
  tril(a: Id, diagonal: number): Result<Id>;
  triu(a: Id, diagonal: number): Result<Id>;
  select(a: Id, dim: number, index: number): Result<Id>;
  narrow(a: Id, dim: number, start: number, length: number): Result<Id>;
  slice(a: Id, dim: number, start: number, end: number, step: number): Result<Id>;
  indexSelect(a: Id, dim: number, index: Id): Result<Id>;
  index(a: Id, indices: Id[]): Result<Id>;
  gather(a: Id, dim: number, index: Id): Result<Id>;
  scatter(a: Id, dim: number, index: Id, source: Id): Result<Id>;
  indexAdd(a: Id, dim: number, index: Id, source: Id): Result<Id>;
  indexCopy(a: Id, dim: number, index: Id, source: Id): Result<Id>;
  maskedFill(a: Id, mask: Id, value: number): Result<Id>;
  maskedSelect: Binary;
  maskedScatter(a: Id, mask: Id, source: Id): Result<Id>;
  where(condition: Id, a: Id, b: Id): Result<Id>;
  nonzero: Unary;
  cat(tensors: Id[], dim: number): Result<Id>;
  stack(tensors: Id[], dim: number): Result<Id>;
  split(a: Id, sizes: readonly number[], dim: number): Result<Id[]>;
  pad(a: Id, pad: readonly number[], value: number): Result<Id>;
  // native/ops/nn.cc
  linear(x: Id, weight: Id, bias: Id): Result<Id>;
  embedding(weight: Id, ids: Id): Result<Id>;
  conv1d(x: Id, weight: Id, bias: Id, stride: number, padding: number): Result<Id>;
  avgPool1d(x: Id, kernel: number, stride: number): Result<Id>;
  layerNorm(x: Id, shape: readonly number[], weight: Id, bias: Id, eps: number): Result<Id>;
  rmsNorm(x: Id, shape: readonly number[], weight: Id, eps: number): Result<Id>;
  softmax(x: Id, dim: number): Result<Id>;
  logSoftmax(x: Id, dim: number): Result<Id>;
  gelu: Unary;
  silu: Unary;
  swiglu: Binary;
  rotary(x: Id, cos: Id, sin: Id): Result<Id>;
  cacheAppend(cachedKeys: Id, cachedValues: Id, keys: Id, values: Id, length: number): Result<Id[]>;
  lowRankUpdate(result: Id, x: Id, a: Id, b: Id, scale: number): Result<Id>;
  relu: Unary;
  dropout(x: Id, p: number, train: boolean): Result<Id>;
  scaledDotProductAttention(
    q: Id,
    k: Id,
    v: Id,
    mask: Id,
    dropoutP: number,
    causal: boolean,
    scale: number,
  ): Result<Id>;
  crossEntropySum(logits: Id, targets: Id, ignoreIndex: number): Result<Id>;
  klDiv(input: Id, target: Id, logTarget: boolean): Result<Id>;
  ctcLoss(
    logProbs: Id,
    targets: Id,
    inputLengths: Id,
    targetLengths: Id,
    blank: number,
  ): Result<Id>;
  // native/ops/optim.cc
  adamw(
    parameters: Id[],
    expAvgs: Id[],
    expAvgSqs: Id[],
    steps: Id[],
    lr: number,
    beta1: number,
    beta2: number,
    weightDecay: number,
    eps: number,
    seed: number,
    numbers: readonly number[],
  ): Result<true>;
  clipGradNorm(parameters: Id[], maxNorm: number): Result<number>;
  foreachMul_(tensors: Id[], factor: number): Result<true>;
  // native/ops/adamw_8bit.cc
  adamw8bit(
    parameters: Id[],
    states1: Id[],
    states2: Id[],
    absmax1: Id[],
    absmax2: Id[],
    steps: Id[],
    lr: number,
    beta1: number,
    beta2: number,
    weightDecay: number,
    eps: number,
    seed: number,
    numbers: readonly number[],
  ): Result<true>;
  // native/io/register.cc
  mapTensor(fd: number, offset: number, dtype: number, shape: readonly number[]): Result<Id>;
  fillNormal(
    target: ArrayBufferView,
    dtype: number,
    seed: number,
    first: number,
    deviation: number,
  ): Result<true>;
  // native/nf4/register.cc
  nf4Codebook(device: string): Result<Id>;
  dynamicMap(isSigned: boolean, device: string): Result<Id>;
  nf4EmptyPacked(count: number): Result<Id>;
  nf4Quantize(values: Id, blockSize: number): Result<[Id, Id]>;
  nf4QuantizeBytes(
    values: ArrayBufferView,
    dtype: number,
    blockSize: number,
    packed: Id,
    absmax: Id,
  ): Result<true>;
  nf4QuantizeAbsmax(absmax: Id): Result<[Id, Id, Id]>;
  nf4Dequantize(
    ...args: [...weight: PackedWeight, shape: readonly number[], dtype: number]
  ): Result<Id>;
  nf4Linear(
    x: Id,
    ...args: [...weight: PackedWeight, outFeatures: number, inFeatures: number, bias: Id]
  ): Result<Id>;
  nf4Embedding(
    ids: Id,
    ...args: [...weight: PackedWeight, embeddingDim: number, dtype: number]
  ): Result<Id>;
  /** The instruction sets of this processor that NF4 has kernels for, slowest first. */
  nf4CpuPaths(): string[];
  /** The one in use. */
  nf4CpuPath(): Result<string>;
  /** For tests and benchmarks. */
  nf4UseCpuPath(name: string): Result<true>;
}

export const binding: Binding = loadAddon() as Binding;

tellWarnings(binding);

/** With PARE_DEBUG set, the stack of libtorch stands behind the message. */
function torchError(text: string): TorchError {
  const [message, stack] = text.split('\x1e') as [string, string?];
  if (stack === undefined) return new TorchError(message);
  const cause = new Error('in libtorch');
  cause.stack = stack;
  return new TorchError(message, { cause });
}

/** The result of a native call, or its error thrown from here. */
export function ok<T>(result: T | undefined): T {
  if (result === undefined) throw torchError(binding.takeError());
  return result;
}
