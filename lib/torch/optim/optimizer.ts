import { PareError } from '../../errors';
import type { Tensor } from '../tensor';

/** Optimiser state and parameters do not fit. */
export class OptimizerError extends PareError {}

export interface ParameterGroup {
  parameters: ReadonlyMap<string, Tensor>;
  weightDecay: number;
}

export interface AdamWOptions {
  betas?: readonly [number, number];
  eps?: number;
}

/** What a training loop asks of an optimiser. */
export interface Optimizer {
  /** Every parameter, in the order of the groups. */
  readonly parameters: Tensor[];
  /** Updates all parameters that have a gradient. */
  step(lr: number): void;
  zeroGrad(): void;
  /** All that a resume needs, by `<parameter>.<state>`; the tensors themselves, not copies. */
  stateDict(): Map<string, Tensor>;
  /** @throws OptimizerError naming a tensor that is missing. */
  loadStateDict(state: ReadonlyMap<string, Tensor>): void;
  dispose(): void;
}

/** Copies `state` into `own`, the tensors of a state dict. */
export function copyState(
  own: ReadonlyMap<string, Tensor>,
  state: ReadonlyMap<string, Tensor>,
): void {
  for (const [name, target] of own) {
    const source = state.get(name);
    if (source === undefined) {
      throw new OptimizerError(`optimiser state ${name} is missing; the parameters have changed`);
    }
    target.copy_(source);
  }
}
