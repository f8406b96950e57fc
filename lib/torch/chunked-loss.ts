/**
 * Losses of hidden states times lm_head that never hold the logits of more than a chunk of tokens:
 * peak memory is a few [chunkSize, vocab] float32 matrices, whatever the number of tokens. Values
 * and gradients are those of the plain losses. Sums: the caller divides by the target tokens of
 * the whole step.
 */
import { checkpoint } from './autograd';
import { binding, TorchError } from './binding';
import { scope } from './scope';
import { Tensor } from './tensor';

/** How much of the logits may be in memory. */
export interface ChunkOptions {
  /** Tokens whose logits are held at once; default: 8 million logits. */
  chunkSize?: number;
}

function chunkSizeOf(vocabSize: number, { chunkSize }: ChunkOptions): number {
  return chunkSize ?? Math.max(1, Math.floor(2 ** 23 / vocabSize));
}

/**
 * Cross-entropy of the classes lm_head gives to each token, summed over targets that are not
 * `ignoreIndex`.
 * @param hidden [tokens, d]
 * @param weight of lm_head [vocab, d]
 * @param targets int64 [tokens]
 * @throws TorchError for shapes that do not fit and targets outside of the vocabulary
 */
export function linearCrossEntropySum(
  hidden: Tensor,
  weight: Tensor,
  targets: Tensor,
  options: ChunkOptions & { ignoreIndex?: number } = {},
): Tensor {
  const { ignoreIndex = -100 } = options;
  const chunk = chunkSizeOf(weight.size(0), options);
  return Tensor.from(
    binding.linearCrossEntropySum(hidden.id, weight.id, targets.id, ignoreIndex, chunk),
  );
}

/**
 * The same of an lm_head that is more than a matrix (one in 4 bits, one with an adapter): a chunk's
 * logits are made in the forward pass and again in the backward pass, by activation checkpointing.
 * @param lmHead gives logits [n, vocab] of hidden states [n, d]
 */
export function headCrossEntropySum(
  hidden: Tensor,
  lmHead: { forward(hidden: Tensor): Tensor },
  targets: Tensor,
  vocabSize: number,
  options: ChunkOptions & { ignoreIndex?: number } = {},
): Tensor {
  const { ignoreIndex = -100 } = options;
  const tokens = hidden.size(0);
  if (targets.shape.join() !== String(tokens)) {
    throw new TorchError(
      `headCrossEntropySum: expected targets [${tokens}], one for each of hidden [${hidden.shape}], ` +
        `got [${targets.shape}]`,
    );
  }
  const chunk = Math.max(1, chunkSizeOf(vocabSize, options));
  const lossOf = (rows: Tensor, ids: Tensor): Tensor => {
    const logits = lmHead.forward(rows).to('float32');
    return Tensor.from(binding.crossEntropySum(logits.id, ids.id, ignoreIndex));
  };
  if (tokens <= chunk) return lossOf(hidden, targets);
  // Each chunk's gradient must stop here: what made `hidden` is passed through once, for all.
  const states = checkpoint((x) => x, hidden);
  const losses: Tensor[] = [];
  for (let at = 0; at < tokens; at += chunk) {
    const size = Math.min(chunk, tokens - at);
    const body = (rows: Tensor): Tensor => scope(() => lossOf(rows, targets.narrow(0, at, size)));
    losses.push(checkpoint(body, states.narrow(0, at, size)));
  }
  return losses.reduce((sum, loss) => sum.add(loss));
}

/** Which divergence, and of which distributions. */
export interface DivergenceOptions extends ChunkOptions {
  /**
   * With the teacher's distribution p and the student's q: `forward` is KL(p‖q), which covers all
   * that the teacher may say; `reverse` is KL(q‖p), which keeps to what it likes best; `jsd` is the
   * generalised Jensen-Shannon divergence of Agarwal et al. 2024. Default `forward`.
   */
  kind?: 'forward' | 'reverse' | 'jsd';
  /** Of `jsd`: the teacher's share in the mixture; default 0.5. */
  beta?: number;
  /** Logits are divided by it, the loss is multiplied by its square (Hinton et al. 2015). */
  temperature?: number;
}

/**
 * Divergence of the student from the teacher, summed over tokens. No gradient goes to the teacher.
 * @param hidden of the student [tokens, d]
 * @param weight of the student's lm_head [vocab, d]
 * @param teacher its hidden states [tokens, d'] and lm_head [vocab, d']
 * @throws TorchError for shapes that do not fit
 */
export function linearDivergenceSum(
  hidden: Tensor,
  weight: Tensor,
  teacher: { hidden: Tensor; weight: Tensor },
  options: DivergenceOptions = {},
): Tensor {
  const { kind = 'forward', beta = 0.5, temperature = 1 } = options;
  const ids = [hidden.id, weight.id, teacher.hidden.id, teacher.weight.id] as const;
  const chunk = chunkSizeOf(weight.size(0), options);
  return Tensor.from(binding.linearDivergenceSum(...ids, kind, beta, temperature, chunk));
}

/**
 * Forward KL to the teacher's k likeliest classes alone, their probabilities made to sum to 1: what
 * can be kept of a teacher that is not in memory any more. Summed over tokens.
 * @param top the teacher's logits [tokens, k] and their classes, int64 [tokens, k]
 * @throws TorchError for shapes that do not fit
 */
export function linearTopKDivergenceSum(
  hidden: Tensor,
  weight: Tensor,
  top: { logits: Tensor; ids: Tensor },
  options: ChunkOptions & { temperature?: number } = {},
): Tensor {
  const { temperature = 1 } = options;
  const ids = [hidden.id, weight.id, top.logits.id, top.ids.id] as const;
  const chunk = chunkSizeOf(weight.size(0), options);
  return Tensor.from(binding.linearTopKDivergenceSum(...ids, temperature, chunk));
}
