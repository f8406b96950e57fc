import { binding, ok } from './binding';
import { dtypeCode, type DType } from './dtype';
import { Tensor } from './tensor';

/**
 * A seeded random generator (Mersenne Twister, libtorch's CPU generator). Its whole state can be
 * saved and restored. Generators live as long as their thread.
 */
export class Generator {
  /** @internal */
  readonly index: number;

  constructor(seed: number) {
    this.index = ok(binding.generator(seed));
  }

  /** Begins anew, as a generator made with this seed. */
  manualSeed(seed: number): void {
    ok(binding.seedGenerator(this.index, seed));
  }

  /** The whole state, as bytes that `setState` takes. */
  getState(): Uint8Array {
    return readState(this.index);
  }

  /**
   * Goes on from a state that `getState` gave.
   * @throws TorchError if it is none.
   */
  setState(state: Uint8Array): void {
    writeState(this.index, state);
  }
}

const DEFAULT = -1;

function readState(index: number): Uint8Array {
  const state = Tensor.from(binding.generatorState(index));
  const bytes = state.toBytes();
  state.dispose();
  return bytes;
}

function writeState(index: number, bytes: Uint8Array): void {
  const state = Tensor.from(binding.fromBytes(bytes, dtypeCode('uint8'), [bytes.length]));
  try {
    ok(binding.setGeneratorState(index, state.id));
  } finally {
    state.dispose();
  }
}

/** Seeds libtorch's default generator, which dropout uses. It is shared by all threads. */
export function manualSeed(seed: number): void {
  ok(binding.manualSeed(seed));
}
/**
 * The state of the default generator, as torch.get_rng_state; where there is a GPU, that of the current
 * one's generator is behind it.
 */
export function getRngState(): Uint8Array {
  return readState(DEFAULT);
}
/**
 * Puts the default generator into a state that `getRngState` gave.
 * @throws TorchError if it is none.
 */
export function setRngState(state: Uint8Array): void {
  writeState(DEFAULT, state);
}

interface RandomOptions {
  dtype?: DType;
  generator?: Generator;
}

/** Uniform in [0, 1). */
export function rand(shape: readonly number[], options: RandomOptions = {}): Tensor {
  const generator = options.generator?.index ?? DEFAULT;
  return Tensor.from(binding.rand(shape, dtypeCode(options.dtype ?? 'float32'), generator));
}
/** Standard normal. */
export function randn(shape: readonly number[], options: RandomOptions = {}): Tensor {
  const generator = options.generator?.index ?? DEFAULT;
  return Tensor.from(binding.randn(shape, dtypeCode(options.dtype ?? 'float32'), generator));
}
/** int64 in [low, high). */
export function randint(
  low: number,
  high: number,
  shape: readonly number[],
  generator?: Generator,
): Tensor {
  return Tensor.from(binding.randint(low, high, shape, generator?.index ?? DEFAULT));
}
/** A permutation of 0 … n-1 (int64). */
export function randperm(n: number, generator?: Generator): Tensor {
  return Tensor.from(binding.randperm(n, generator?.index ?? DEFAULT));
}
/** Indices drawn in proportion to `weights` [n] or [rows, n]. */
export function multinomial(
  weights: Tensor,
  n: number,
  replacement: boolean = false,
  generator?: Generator,
): Tensor {
  return Tensor.from(binding.multinomial(weights.id, n, replacement, generator?.index ?? DEFAULT));
}
