import { binding, ok } from '../binding';
import { zeros } from '../create';
import { keep } from '../scope';
import type { Tensor } from '../tensor';
import { AdamW } from './adamw';
import { Optimizer, roundingOf, type AdamWOptions, type ParameterGroup } from './optimizer';

/** bitsandbytes' `min_8bit_size`: float32 parameters of fewer elements keep float32 moments. */
const minElements = 4096;
/** Elements that share an absmax. */
const blockSize = 256;

interface Slot {
  parameter: Tensor;
  /** Of the parameter among all, for its rounding. */
  number: number;
  state1: Tensor;
  state2: Tensor;
  absmax1: Tensor;
  absmax2: Tensor;
  step: Tensor;
}
const states = ['state1', 'state2', 'absmax1', 'absmax2', 'step'] as const;

/**
 * AdamW with both moments in 8 bits, blockwise (Dettmers et al. 2022): 2 bytes a parameter instead
 * of 8. As bitsandbytes' `AdamW8bit`, on the CPU
 * and, in a build with nvcc, on CUDA; the moments are rounded to the nearest value of
 * the dynamic map, as its CUDA kernel does (its CPU code rounds them to 16 bits of [-1, 1] first
 * and so turns zeros into small moments). Parameters in float32 of fewer than 4,096 elements are
 * left to {@link AdamW}.
 */
export class AdamW8bit extends Optimizer {
  readonly parameters: Tensor[];
  readonly #small: AdamW;
  readonly #groups: { slots: Map<string, Slot>; weightDecay: number }[];
  readonly #betas: readonly [number, number];
  readonly #eps: number;
  readonly #roundingSeed: number | undefined;

  constructor(groups: readonly ParameterGroup[], options: AdamWOptions = {}) {
    super();
    this.parameters = groups.flatMap(({ parameters }) => [...parameters.values()]);
    this.#betas = options.betas ?? [0.9, 0.999];
    this.#eps = options.eps ?? 1e-8;
    this.#roundingSeed = options.roundingSeed;
    const isSmall = (parameter: Tensor): boolean =>
      parameter.dtype === 'float32' && parameter.numel < minElements;
    const part = ({ parameters, weightDecay }: ParameterGroup, small: boolean): ParameterGroup => ({
      parameters: new Map([...parameters].filter(([, p]) => isSmall(p) === small)),
      weightDecay,
    });
    this.#small = new AdamW(
      groups.map((group) => part(group, true)),
      options,
    );
    let number = 0;
    this.#groups = groups.map((group) => {
      const { parameters, weightDecay } = part(group, false);
      return {
        weightDecay,
        slots: new Map(
          Array.from(parameters, ([name, parameter]) => [name, slotOf(parameter, number++)]),
        ),
      };
    });
  }

  step(lr: number): void {
    this.#small.step(lr);
    for (const { slots, weightDecay } of this.#groups) {
      const ids = (part: 'parameter' | (typeof states)[number]): number[] =>
        Array.from(slots.values(), (s) => s[part].id);
      ok(
        binding.adamw8bit(
          ids('parameter'),
          ids('state1'),
          ids('state2'),
          ids('absmax1'),
          ids('absmax2'),
          ids('step'),
          lr,
          ...this.#betas,
          weightDecay,
          this.#eps,
          ...roundingOf(this.#roundingSeed, slots.values()),
        ),
      );
    }
  }

  /** bitsandbytes' names: `<parameter>.state1`, `.state2`, `.absmax1`, `.absmax2` and `.step`. */
  stateDict(): Map<string, Tensor> {
    const state = this.#small.stateDict();
    for (const { slots } of this.#groups) {
      for (const [name, slot] of slots) {
        for (const part of states) state.set(`${name}.${part}`, slot[part]);
      }
    }
    return state;
  }
}

function slotOf(parameter: Tensor, number: number): Slot {
  const { device } = parameter;
  const codes = (): Tensor => keep(zeros(parameter.shape, { dtype: 'uint8', device }));
  const absmax = (): Tensor => keep(zeros([Math.ceil(parameter.numel / blockSize)], { device }));
  return {
    parameter,
    number,
    state1: codes(),
    state2: codes(),
    absmax1: absmax(),
    absmax2: absmax(),
    step: keep(zeros([], { device })),
  };
}
