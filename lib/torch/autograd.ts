import { binding, ok } from './binding';
import { getRngState, setRngState } from './random';
import { scope, ScopeError } from './scope';
import { Tensor } from './tensor';

function withGrad<T>(enabled: boolean, body: () => T): T {
  const before = binding.isGradEnabled();
  ok(binding.setGradEnabled(enabled));
  try {
    const result = body();
    if (result instanceof Promise) {
      throw new ScopeError('noGrad() was given an async function; use it around each step instead');
    }
    return result;
  } finally {
    ok(binding.setGradEnabled(before));
  }
}

/** Runs `body` without recording operations for autograd. */
export function noGrad<T>(body: () => T): T {
  return withGrad(false, body);
}

/**
 * Mixed precision as torch.autocast: inside `body`, matrix products, convolutions and attention
 * compute in bfloat16 from float32 weights; sums stay in float32. For forward passes: `backward`
 * belongs outside.
 */
export function autocast<T>(body: () => T): T {
  return withAutocast(true, body);
}

let autocasting = false;

function withAutocast<T>(enabled: boolean, body: () => T): T {
  const before = autocasting;
  const set = (value: boolean): void => {
    if (value !== autocasting) ok(binding.setAutocast(value));
    autocasting = value;
  };
  set(enabled);
  try {
    return body();
  } finally {
    set(before);
  }
}

/** Whether matrix products compute in bfloat16: inside of {@link autocast}. */
export function isAutocasting(): boolean {
  return autocasting;
}

/** Whether operations are recorded for autograd: outside of {@link noGrad}. */
export function isGradEnabled(): boolean {
  return binding.isGradEnabled();
}

interface Checkpoint {
  body: (input: Tensor) => Tensor;
  input: Tensor;
  /** The output as the later graph sees it: a leaf that collects its gradient. */
  output: Tensor;
  rngState: Uint8Array;
  autocast: boolean;
}

// Checkpoints of the forward pass under way, in order. `backward` consumes them.
let tape: Checkpoint[] = [];

/**
 * Activation checkpointing (Chen et al. 2016): runs `body(input)` without keeping what its
 * backward pass needs, and runs it again, with the same random numbers and precision, during {@link backward}.
 * Gradients reach the parameters that `body` uses and `input`.
 *
 * The recomputation is driven from JavaScript, after libtorch's engine has returned, so that it
 * also works where the engine runs backward on another thread (CUDA). Two things follow: `input`
 * may be used again only if it is a leaf or another checkpoint's output (libtorch refuses the second
 * pass through what lies before it), and one backward pass must bring the whole gradient of the
 * output, so add the losses that share a checkpoint.
 */
export function checkpoint(body: (input: Tensor) => Tensor, input: Tensor): Tensor {
  if (!binding.isGradEnabled()) return body(input);
  const rngState = getRngState();
  const output = scope(() => noGrad(() => body(input)).detach());
  output.requiresGrad = true;
  tape.push({ body, input, output, rngState, autocast: autocasting });
  return output;
}

/**
 * Back-propagates from a scalar, or from `outputs` with the given gradients, into every leaf, and
 * through the checkpoints on the way. Checkpoints of another forward pass wait for its backward.
 */
export function backward(output: Tensor, gradient?: Tensor): void {
  const pending = tape;
  tape = [];
  run(output, gradient);
  const waiting: Checkpoint[] = [];
  for (const entry of pending.reverse()) {
    // Freed with a forward pass that had no backward, as one for validation.
    if (entry.output.disposed) continue;
    if (!scope(() => recompute(entry))) waiting.push(entry);
  }
  tape.push(...waiting.reverse());
}

function run(output: Tensor, gradient?: Tensor): void {
  ok(binding.backward([output.id], gradient === undefined ? [] : [gradient.id]));
}

/** Whether this backward pass came by. */
function recompute(entry: Checkpoint): boolean {
  const { body, input, output, rngState } = entry;
  const gradient = output.grad;
  if (gradient === undefined) return false;
  const leaf = input.detach();
  leaf.requiresGrad = input.requiresGrad;
  const resume = getRngState();
  setRngState(rngState);
  let again: Tensor;
  try {
    again = withGrad(true, () => withAutocast(entry.autocast, () => body(leaf)));
  } finally {
    setRngState(resume);
  }
  if (!again.requiresGrad) return true;
  // Not `run`: the body may have checkpoints of its own.
  backward(again, gradient);
  const inputGradient = leaf.grad;
  if (inputGradient !== undefined) run(input, inputGradient);
  return true;
}

/** Forgets the checkpoints of a forward pass whose backward will not run (after an error). */
export function discardCheckpoints(): void {
  tape = [];
}

/** Gradients of `outputs` with respect to `inputs`, not accumulated; zero-filled is undefined. */
export function grad(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  gradients: readonly Tensor[] = [],
): (Tensor | undefined)[] {
  const ids = (tensors: readonly Tensor[]): number[] => tensors.map((t) => t.id);
  const result = ok(binding.autogradGrad(ids(outputs), ids(inputs), ids(gradients)));
  return result.map((id) => (id === 0 ? undefined : new Tensor(id)));
}

/** Drops the gradients of parameters. */
export function zeroGrad(parameters: readonly Tensor[]): void {
  ok(binding.zeroGrad(parameters.map((p) => p.id)));
}

/**
 * From here on the gradients of parameters are float32 whatever these are, and backward adds to
 * them in float32; those that are there already go on so. For sums over micro-batches, of which
 * bfloat16 would lose small parts.
 */
export function sumGradInFloat32(parameters: readonly Tensor[]): void {
  ok(binding.sumGradInFloat32(parameters.map((p) => p.id)));
}
