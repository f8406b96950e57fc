import { PareError } from '../../errors';
import { sumGradInFloat32, zeroGrad } from '../autograd';
import type { Tensor } from '../tensor';

/** Optimiser state and parameters do not fit. */
export class OptimizerError extends PareError {}

/** Parameters by name with their own weight decay (decoupled, a factor of the learning rate). */
export interface ParameterGroup {
  parameters: ReadonlyMap<string, Tensor>;
  weightDecay: number;
}

/** Decay of both moments, default 0.9 and 0.999, and what is added to the divisor, 1e-8. */
export interface AdamWOptions {
  betas?: readonly [number, number];
  eps?: number;
  /**
   * Rounds parameters in bfloat16 stochastically, by random bits that are a function of this seed,
   * the parameter's number, the step and the element: a resumed run and any number of threads round
   * alike. Without it they are rounded to the nearest, as by torch.optim, and updates below half of
   * the last bit are lost.
   */
  roundingSeed?: number;
}

/** What the native step takes to round by: no numbers to round to the nearest. */
export function roundingOf(
  seed: number | undefined,
  slots: Iterable<{ number: number }>,
): [seed: number, numbers: number[]] {
  return seed === undefined ? [0, []] : [seed, Array.from(slots, ({ number }) => number)];
}

/** What a training loop asks of an optimiser. */
export abstract class Optimizer {
  /** Every parameter, in the order of the groups. */
  abstract readonly parameters: Tensor[];

  /** Updates all parameters that have a gradient. */
  abstract step(lr: number): void;

  /** All that a resume needs, by `<parameter>.<state>`; the tensors themselves, not copies. */
  abstract stateDict(): Map<string, Tensor>;

  /** Drops all gradients, so that the next backward pass begins anew. */
  zeroGrad(): void {
    zeroGrad(this.parameters);
  }

  /** For steps of several micro-batches: see `sumGradInFloat32` of autograd.ts. */
  sumGradInFloat32(): void {
    sumGradInFloat32(this.parameters);
  }

  /** @throws OptimizerError naming a tensor that is missing. */
  loadStateDict(state: ReadonlyMap<string, Tensor>): void {
    for (const [name, target] of this.stateDict()) {
      const source = state.get(name);
      if (source === undefined) {
        throw new OptimizerError(`optimiser state ${name} is missing; the parameters have changed`);
      }
      target.copy_(source);
    }
  }

  /** Frees the state; the parameters stay. */
  dispose(): void {
    for (const value of this.stateDict().values()) value.dispose();
  }
}
