/** Stateless operations of networks, as torch.nn.functional has them. */
import { binding, ok } from './binding';
import { Tensor } from './tensor';

/** x [..., in] times weight [out, in] transposed, plus bias [out]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  return Tensor.from(binding.linear(x.id, weight.id, bias?.id ?? 0));
}
/** Rows of weight [vocab, dim] by ids (int64 or int32). */
export function embedding(weight: Tensor, ids: Tensor): Tensor {
  return Tensor.from(binding.embedding(weight.id, ids.id));
}
/** x [batch, in, time], weight [out, in, kernel]. */
export function conv1d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  stride: number = 1,
  padding: number = 0,
): Tensor {
  return Tensor.from(binding.conv1d(x.id, weight.id, bias?.id ?? 0, stride, padding));
}
/** Over the last dimension of x [batch, channels, time]. */
export function avgPool1d(x: Tensor, kernel: number, stride: number = kernel): Tensor {
  return Tensor.from(binding.avgPool1d(x.id, kernel, stride));
}
/** Normalises the last dimensions, those of `shape`, to mean 0 and variance 1 (Ba et al. 2016). */
export function layerNorm(
  x: Tensor,
  shape: readonly number[],
  weight?: Tensor,
  bias?: Tensor,
  eps: number = 1e-5,
): Tensor {
  return Tensor.from(binding.layerNorm(x.id, shape, weight?.id ?? 0, bias?.id ?? 0, eps));
}
/**
 * Divides the last dimensions, those of `shape`, by their root mean square (Zhang & Sennrich 2019).
 */
export function rmsNorm(
  x: Tensor,
  shape: readonly number[],
  weight?: Tensor,
  eps: number = 1e-6,
): Tensor {
  return Tensor.from(binding.rmsNorm(x.id, shape, weight?.id ?? 0, eps));
}
/** Exponentials along `dim`, divided by their sum. */
export function softmax(x: Tensor, dim: number = -1): Tensor {
  return Tensor.from(binding.softmax(x.id, dim));
}
/** The logarithm of {@link softmax}, without its loss of precision. */
export function logSoftmax(x: Tensor, dim: number = -1): Tensor {
  return Tensor.from(binding.logSoftmax(x.id, dim));
}
/** The exact (erf) form, as Whisper's. */
export function gelu(x: Tensor): Tensor {
  return Tensor.from(binding.gelu(x.id));
}
/** x sigmoid(x), elementwise. */
export function silu(x: Tensor): Tensor {
  return Tensor.from(binding.silu(x.id));
}
/** silu(gate) * up, in one pass (Shazeer 2020, "GLU Variants Improve Transformer"). */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return Tensor.from(binding.swiglu(gate.id, up.id));
}
/**
 * x cos + swap(x) sin, where `swap` exchanges the halves of a head (Su et al. 2021).
 * @param x [batch, heads, time, headDim]
 * @param cos [batch or 1, 1, time, headDim]
 * @param sin as cos; that of the first half is negated
 */
export function rotary(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  return Tensor.from(binding.rotary(x.id, cos.id, sin.id));
}
/**
 * result + scale B A x (Hu et al. 2021), computed in autocast's dtype or else A's, in the dtype of
 * `result` [..., out].
 * @param x [..., in], a [r, in], b [out, r]
 */
export function lowRankUpdate(
  result: Tensor,
  x: Tensor,
  a: Tensor,
  b: Tensor,
  scale: number,
): Tensor {
  return Tensor.from(binding.lowRankUpdate(result.id, x.id, a.id, b.id, scale));
}
/** Elements below 0 become 0. */
export function relu(x: Tensor): Tensor {
  return Tensor.from(binding.relu(x.id));
}
/** While `training`, zeroes elements with probability `p` and scales the rest by 1 / (1 - p). */
export function dropout(x: Tensor, p: number, training: boolean): Tensor {
  return Tensor.from(binding.dropout(x.id, p, training));
}

/**
 * Writes keys and values [batch, heads, time, headDim] behind the first `length` positions of a
 * cache [batch, heads, capacity, headDim]. Returns views of all positions so far.
 */
export function cacheAppend(
  cached: { keys: Tensor; values: Tensor },
  keys: Tensor,
  values: Tensor,
  length: number,
): [Tensor, Tensor] {
  const ids = ok(binding.cacheAppend(cached.keys.id, cached.values.id, keys.id, values.id, length));
  return [new Tensor(ids[0]!), new Tensor(ids[1]!)];
}

/** Which keys each query attends to, and how. */
export interface AttentionOptions {
  /** bool (true = attend) or additive; broadcast to [batch, heads, queries, keys]. */
  mask?: Tensor;
  /** Probability with which an attention weight is zeroed; default 0. */
  dropoutP?: number;
  /** Position i attends to positions up to i alone; default false. */
  causal?: boolean;
  /** Scores are multiplied by it before the softmax, usually 1 / sqrt(headDim). */
  scale: number;
}

/**
 * q [batch, heads, time, headDim]; k, v the same, or with fewer heads, each of which serves
 * neighbouring heads of q (grouped-query attention). Softmax in float32 whatever the dtype.
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
): Tensor {
  const { mask, dropoutP = 0, causal = false, scale } = options;
  return Tensor.from(
    binding.scaledDotProductAttention(q.id, k.id, v.id, mask?.id ?? 0, dropoutP, causal, scale),
  );
}

/**
 * Negative log-likelihood summed over the targets that are not `ignoreIndex`: the caller divides
 * by their number, over all micro-batches of a step.
 * @param logits [tokens, vocab]
 * @param targets int64 [tokens]
 */
export function crossEntropySum(
  logits: Tensor,
  targets: Tensor,
  ignoreIndex: number = -100,
): Tensor {
  return Tensor.from(binding.crossEntropySum(logits.id, targets.id, ignoreIndex));
}

/**
 * Connectionist temporal classification (Graves et al. 2006), summed over the batch; impossible
 * alignments count zero.
 * @param logProbs [time, batch, classes], log-softmaxed
 * @param targets int64 [sum of targetLengths]
 * @param inputLengths int64 [batch]
 * @param targetLengths int64 [batch]
 */
export function ctcLoss(
  logProbs: Tensor,
  targets: Tensor,
  inputLengths: Tensor,
  targetLengths: Tensor,
  blank: number = 0,
): Tensor {
  return Tensor.from(
    binding.ctcLoss(logProbs.id, targets.id, inputLengths.id, targetLengths.id, blank),
  );
}

export {
  headCrossEntropySum,
  linearCrossEntropySum,
  linearDivergenceSum,
  linearTopKDivergenceSum,
  type ChunkOptions,
  type DivergenceOptions,
} from './chunked-loss';
