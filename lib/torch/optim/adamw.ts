import { binding, ok } from '../binding';
import { zeros } from '../create';
import { keep } from '../scope';
import type { Tensor } from '../tensor';
import { Optimizer, roundingOf, type AdamWOptions, type ParameterGroup } from './optimizer';

interface Slot {
  parameter: Tensor;
  /** Of the parameter among all, for its rounding. */
  number: number;
  expAvg: Tensor;
  expAvgSq: Tensor;
  step: Tensor;
}

/**
 * Adam with decoupled weight decay (Loshchilov & Hutter 2019), as torch.optim.AdamW, one fused
 * native call a group. The learning rate is given at each step. Moments have the parameter's dtype;
 * of a bfloat16 parameter that is rounded stochastically (`roundingSeed`), float32.
 */
export class AdamW extends Optimizer {
  readonly #groups: { slots: Map<string, Slot>; weightDecay: number }[];
  readonly #betas: readonly [number, number];
  readonly #eps: number;
  readonly #roundingSeed: number | undefined;

  constructor(groups: readonly ParameterGroup[], options: AdamWOptions = {}) {
    super();
    this.#roundingSeed = options.roundingSeed;
    let number = 0;
    const moment = (parameter: Tensor): Tensor => {
      const rounded = parameter.dtype === 'bfloat16' && options.roundingSeed !== undefined;
      const { shape, dtype, device } = parameter;
      return keep(zeros(shape, { dtype: rounded ? 'float32' : dtype, device }));
    };
    this.#betas = options.betas ?? [0.9, 0.999];
    this.#eps = options.eps ?? 1e-8;
    this.#groups = groups.map(({ parameters, weightDecay }) => ({
      weightDecay,
      slots: new Map(
        Array.from(parameters, ([name, parameter]) => [
          name,
          {
            parameter,
            number: number++,
            expAvg: moment(parameter),
            expAvgSq: moment(parameter),
            step: keep(zeros([], { device: parameter.device })),
          },
        ]),
      ),
    }));
  }

  get parameters(): Tensor[] {
    return this.#groups.flatMap((group) => Array.from(group.slots.values(), (s) => s.parameter));
  }

  step(lr: number): void {
    for (const { slots, weightDecay } of this.#groups) {
      const list = [...slots.values()];
      ok(
        binding.adamw(
          list.map((s) => s.parameter.id),
          list.map((s) => s.expAvg.id),
          list.map((s) => s.expAvgSq.id),
          list.map((s) => s.step.id),
          lr,
          ...this.#betas,
          weightDecay,
          this.#eps,
          ...roundingOf(this.#roundingSeed, list),
        ),
      );
    }
  }

  /** `<parameter>.exp_avg`, `.exp_avg_sq` and `.step`, for a resume to the same losses. */
  stateDict(): Map<string, Tensor> {
    const state = new Map<string, Tensor>();
    for (const { slots } of this.#groups) {
      for (const [name, slot] of slots) {
        state.set(`${name}.exp_avg`, slot.expAvg);
        state.set(`${name}.exp_avg_sq`, slot.expAvgSq);
        state.set(`${name}.step`, slot.step);
      }
    }
    return state;
  }
}
