import { functional as F, nn, noGrad, rand, scope, zeros } from '../torch';
import type { DType, Generator, Tensor } from '../torch';
import { LoraError } from './config';

/** What an adapter can wrap: `nn.Linear`, a 4-bit layer, anything with the same face. */
export interface LinearLike extends nn.Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  forward(x: Tensor): Tensor;
}

export function isLinear(module: nn.Module): module is LinearLike {
  const { inFeatures, outFeatures, forward } = module as Partial<LinearLike>;
  return (
    typeof inFeatures === 'number' &&
    typeof outFeatures === 'number' &&
    typeof forward === 'function'
  );
}

export interface LoraLinearOptions {
  r: number;
  /** The factor of the update; see `loraScale`. */
  scale: number;
  dropout?: number;
  /** Of A and B, and of the update's arithmetic; float32 unless said otherwise, as in PEFT. */
  dtype?: DType;
  /** Makes A's start; without one, A is zero as B is (for values that come from a file). */
  generator?: Generator;
}

/**
 * y = base(x) + scale * B(A(dropout(x))), `peft.tuners.lora.Linear`. The base is frozen; A
 * [r, inFeatures] starts Kaiming-uniform with a = sqrt(5), B [outFeatures, r] at zero.
 *
 * In a model's state dict the base keeps the names it had (`X.weight`, `X.bias`), as if it were not
 * wrapped; A and B are `X.lora_A.weight` and `X.lora_B.weight`.
 */
export class LoraLinear extends nn.Module {
  base: LinearLike;
  loraA: Tensor;
  loraB: Tensor;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly scale: number;
  readonly dropout: number;

  constructor(base: LinearLike, options: LoraLinearOptions) {
    super();
    const { r, scale, dropout = 0, dtype = 'float32', generator } = options;
    const { inFeatures, outFeatures } = base;
    this.base = base;
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.scale = scale;
    this.dropout = dropout;
    this.training = base.training;
    base.requiresGrad(false);
    const [first] = base.namedTensors();
    const device = first?.[1].device ?? 'cpu';
    const shape = [r, inFeatures];
    // Kaiming's bound for a = sqrt(5). Drawn in float32 on the processor: the same numbers
    // whatever the dtype and the device.
    const bound = 1 / Math.sqrt(inFeatures);
    this.loraA = nn.parameter(
      generator === undefined
        ? zeros(shape, { dtype, device })
        : scope(() =>
            rand(shape, { generator })
              .mul(2 * bound)
              .sub(bound)
              .to(dtype, device),
          ),
    );
    this.loraB = nn.parameter(zeros([outFeatures, r], { dtype, device }));
  }

  /** @param x [..., inFeatures]. Returns [..., outFeatures] in the dtype of the base's result. */
  forward(x: Tensor): Tensor {
    const result = this.base.forward(x);
    const h = this.training && this.dropout > 0 ? F.dropout(x, this.dropout, true) : x;
    return F.lowRankUpdate(result, h, this.loraA, this.loraB, this.scale);
  }

  /**
   * Adds scale * B A to the base's weight, in place and rounded once, and returns the base. Whoever
   * shares that weight sees the change.
   * @throws LoraError for a base that is not in full precision; nothing is changed.
   */
  merge(): nn.Linear {
    const base = this.mergeableBase();
    scope(() =>
      noGrad(() => {
        const [a, b] = [this.loraA.to('float32'), this.loraB.to('float32')];
        base.weight.copy_(base.weight.add(b.matmul(a).mul(this.scale)));
      }),
    );
    return base;
  }

  /**
   * The base, if an update can be added to its weight.
   * @param name of this layer, for the error
   * @throws LoraError for a base that is not in full precision
   */
  mergeableBase(name: string = 'this layer'): nn.Linear {
    const { base } = this;
    if (base instanceof nn.Linear && base.weight.dtype.includes('float')) return base;
    throw new LoraError(
      `cannot merge the adapter into ${name}, which is quantised: rounding again would lose it; ` +
        'save the adapter beside the base, or merge into the full-precision base',
    );
  }

  /** The base appears under this layer's own name, after this layer. */
  override *namedModules(prefix: string = ''): IterableIterator<[string, nn.Module]> {
    yield [prefix, this];
    yield* this.base.namedModules(prefix);
  }

  override *ownTensors(): IterableIterator<[string, Tensor]> {
    yield ['lora_A.weight', this.loraA];
    yield ['lora_B.weight', this.loraB];
  }
}
