import { keep, nn, scope, type Tensor } from '../torch';
import { QuantState, quantStateKey } from './quant-state';
import { QuantStateError, type FloatDType } from './quant-state-json';
import { matmul4bit, quantizeNf4, type QuantizeOptions } from './quantize';

export interface Linear4bitOptions {
  bias?: Tensor;
  /** The dtype of the product; the input's unless given. */
  computeDtype?: FloatDType;
}

/**
 * y = x W^T + b with W [outFeatures, inFeatures] in NF4 and frozen: `bitsandbytes.nn.Linear4bit`.
 * Gradients reach the input, and the bias where it is trainable.
 *
 * In a state dict the weight has bitsandbytes' entries: `weight` (packed, uint8), `weight.absmax`,
 * `weight.quant_map`, with double quantisation `weight.nested_absmax` and
 * `weight.nested_quant_map`, and `weight.quant_state.bitsandbytes__nf4`.
 */
export class Linear4bit extends nn.Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Packed: its dtype is uint8 and its shape tells nothing; see `quantState`. */
  readonly weight: Tensor;
  readonly quantState: QuantState;
  readonly bias: Tensor | undefined;
  readonly computeDtype: FloatDType | undefined;
  readonly #json: Tensor;

  /** Takes the tensors over: they live as long as this module, out of every scope. */
  constructor(packed: Tensor, quantState: QuantState, options: Linear4bitOptions = {}) {
    super();
    const [outFeatures, inFeatures] = quantState.shape;
    if (outFeatures === undefined || inFeatures === undefined || quantState.shape.length !== 2) {
      throw new QuantStateError(
        `Linear4bit needs a matrix, got a weight of shape [${quantState.shape.join(', ')}]`,
      );
    }
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.weight = nn.parameter(packed, false);
    this.quantState = keep(quantState);
    this.bias = options.bias && nn.parameter(options.bias, options.bias.requiresGrad);
    this.computeDtype = options.computeDtype;
    this.#json = nn.parameter(quantState.packedJson(), false);
  }

  /** Quantises a full-precision layer, which stays as it is; the bias is copied and frozen. */
  static fromLinear(
    linear: nn.Linear,
    options: QuantizeOptions & Pick<Linear4bitOptions, 'computeDtype'> = {},
  ): Linear4bit {
    return scope(() => {
      const { packed, quantState } = quantizeNf4(linear.weight, options);
      return new Linear4bit(packed, quantState, {
        bias: linear.bias?.detach().clone(),
        computeDtype: options.computeDtype,
      });
    });
  }

  /**
   * A layer from the entries of a state dict below `prefix` (`X` for `X.weight`, `X.weight.absmax`,
   * …); its tensors share their storage.
   * @throws QuantStateError when an entry is missing or of another format
   */
  static fromStateDict(
    state: ReadonlyMap<string, Tensor>,
    prefix: string,
    options: Pick<Linear4bitOptions, 'computeDtype'> = {},
  ): Linear4bit {
    const name = prefix === '' ? 'weight' : `${prefix}.weight`;
    const packed = state.get(name);
    if (packed === undefined) throw new QuantStateError(`${name} is missing in the state dict`);
    return scope(() => {
      const quantState = QuantState.fromStateDict(state, name);
      const bias = state.get(prefix === '' ? 'bias' : `${prefix}.bias`);
      // bitsandbytes can store the bytes under another dtype (quant_storage).
      const bytes = packed.dtype === 'uint8' ? packed.detach() : packed.viewDtype('uint8');
      return new Linear4bit(bytes.reshape([-1, 1]), quantState, {
        bias: bias?.detach(),
        ...options,
      });
    });
  }

  /** @param x [..., inFeatures]. Returns [..., outFeatures] in the dtype of x. */
  forward(x: Tensor): Tensor {
    const { computeDtype, quantState, weight, bias } = this;
    if (computeDtype === undefined || x.dtype === computeDtype) {
      return matmul4bit(x, weight, quantState, bias);
    }
    return matmul4bit(x.to(computeDtype), weight, quantState, bias).to(x.dtype);
  }

  override *ownTensors(): IterableIterator<[string, Tensor]> {
    yield ['weight', this.weight];
    if (this.bias !== undefined) yield ['bias', this.bias];
    for (const [name, value] of this.quantState.namedTensors()) yield [`weight.${name}`, value];
    yield [`weight.${quantStateKey}`, this.#json];
  }
}

/** Whether a state dict holds `${prefix}.weight` in NF4. */
export function isQuantized(state: Pick<nn.StateDict, 'has'>, prefix: string): boolean {
  return state.has(`${prefix}.weight.${quantStateKey}`);
}
