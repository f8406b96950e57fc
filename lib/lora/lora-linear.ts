import { functional as F, nn, rand, scope, zeros } from '../torch';
import type { DType, Generator, Tensor } from '../torch';
import { LoraError } from './config';

/** What an adapter can wrap: `nn.Linear`, a 4-bit layer, anything with the same face. */
export interface LinearLike extends nn.Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** x [..., inFeatures] gives [..., outFeatures]. */
  forward(x: Tensor): Tensor;
}

/** Whether an adapter can wrap a module, by its face: `inFeatures`, `outFeatures` and `forward`. */
export function isLinear(module: nn.Module): module is LinearLike {
  const { inFeatures, outFeatures, forward } = module as Partial<LinearLike>;
  return (
    typeof inFeatures === 'number' &&
    typeof outFeatures === 'number' &&
    typeof forward === 'function'
  );
}

/** Rank, scale and dropout of one update, and how it begins. */
export interface LoraUpdateOptions {
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
 * What one adapter adds to one layer: scale * B(A(dropout(x))). A [r, inFeatures] starts
 * Kaiming-uniform with a = sqrt(5), B [outFeatures, r] at zero.
 */
export class LoraUpdate {
  loraA: Tensor;
  loraB: Tensor;
  readonly scale: number;
  readonly dropout: number;

  /** @param layer that it is for: says sizes and device */
  constructor(layer: LinearLike, options: LoraUpdateOptions) {
    const { r, scale, dropout = 0, dtype = 'float32', generator } = options;
    const { inFeatures, outFeatures } = layer;
    this.scale = scale;
    this.dropout = dropout;
    const [first] = layer.namedTensors();
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

  /** Adds the update of x [..., inFeatures] to `result` [..., outFeatures], in its dtype. */
  addTo(result: Tensor, x: Tensor, training: boolean): Tensor {
    const h = training && this.dropout > 0 ? F.dropout(x, this.dropout, true) : x;
    return F.lowRankUpdate(result, h, this.loraA, this.loraB, this.scale);
  }

  /** What it adds to the weight: scale * B A, float32 [outFeatures, inFeatures], no gradient. */
  deltaWeight(): Tensor {
    return scope(() => {
      const [a, b] = [this.loraA.detach().to('float32'), this.loraB.detach().to('float32')];
      return b.matmul(a).mul(this.scale);
    });
  }

  /** By their names in PEFT's files. */
  *namedTensors(): IterableIterator<['lora_A' | 'lora_B', Tensor]> {
    yield ['lora_A', this.loraA];
    yield ['lora_B', this.loraB];
  }
}

/** Which of a model's adapters take part; all its LoRA layers look here. */
export interface AdapterSwitch {
  /** Names, in the order in which their updates are added. */
  readonly inUse: readonly string[];
}

/**
 * y = base(x) + the updates of the adapters in use, `peft.tuners.lora.Linear`. The base is frozen.
 *
 * In a model's state dict the base keeps the names it had (`X.weight`, `X.bias`), as if it were not
 * wrapped; an adapter's tensors are `X.lora_A.NAME.weight` and `X.lora_B.NAME.weight`, as in PEFT.
 */
export class LoraLinear extends nn.Module {
  base: LinearLike;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly #updates = new Map<string, LoraUpdate>();
  readonly #switch: AdapterSwitch;

  constructor(base: LinearLike, adapters: AdapterSwitch) {
    super();
    this.base = base;
    this.inFeatures = base.inFeatures;
    this.outFeatures = base.outFeatures;
    this.training = base.training;
    this.#switch = adapters;
    base.requiresGrad(false);
  }

  /** Of the adapters that adapt this layer, by their names; {@link attachLora} fills it. */
  get updates(): Map<string, LoraUpdate> {
    return this.#updates;
  }

  /** @internal */
  get adapters(): AdapterSwitch {
    return this.#switch;
  }

  /** @throws LoraError unless it is there: the adapters' tensors have other holders, too. */
  override checkMove(device: string): void {
    const [first] = this.base.namedTensors();
    if (first?.[1].device === device) return;
    throw new LoraError(
      'a model with adapters stays where it is; move it before they are attached',
    );
  }

  /** x [..., inFeatures] gives [..., outFeatures] in the dtype of the base's result. */
  forward(x: Tensor): Tensor {
    let result = this.base.forward(x);
    for (const name of this.#switch.inUse) {
      result = this.#updates.get(name)?.addTo(result, x, this.training) ?? result;
    }
    return result;
  }

  /**
   * The base, if an update can be added to its weight.
   * @param name of this layer, for the error
   * @throws LoraError for a base that is not in full precision
   */
  mergeableBase(name: string): nn.Linear {
    const { base } = this;
    if (base instanceof nn.Linear && base.weight.dtype.includes('float')) return base;
    throw new LoraError(
      `cannot merge the adapter into ${name}, which is quantised: rounding again would lose it; ` +
        'save the adapter beside the base, or merge into a new checkpoint and have it measured ' +
        '(mergeCheckpoint, pare merge)',
    );
  }

  /** The base appears under this layer's own name, after this layer. */
  override *namedModules(prefix: string = ''): IterableIterator<[string, nn.Module]> {
    yield [prefix, this];
    yield* this.base.namedModules(prefix);
  }

  override *ownTensors(): IterableIterator<[string, Tensor]> {
    for (const [adapter, update] of this.#updates) {
      for (const [own, value] of update.namedTensors()) yield [`${own}.${adapter}.weight`, value];
    }
  }
}
