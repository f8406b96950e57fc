import { isAutocasting, nn, scope, type Tensor } from '../torch';
import { PackedModule, packedFromStateDict } from './packed-module';
import type { QuantState } from './quant-state';
import type { FloatDType } from './quant-state-json';
import { matmul4bit, quantizeNf4, type QuantizeOptions } from './quantize';

/** What a 4-bit layer has beside its packed weight. */
export interface Linear4bitOptions {
  bias?: Tensor;
  /** The dtype of the product; the input's unless given, or bfloat16 under `autocast`. */
  computeDtype?: FloatDType;
}

/**
 * y = x W^T + b with W [outFeatures, inFeatures] in NF4 and frozen: `bitsandbytes.nn.Linear4bit`.
 * Gradients reach the input, and the bias where it is trainable.
 */
export class Linear4bit extends PackedModule {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly computeDtype: FloatDType | undefined;

  /** Takes the tensors over: they live as long as this module, out of every scope. */
  constructor(packed: Tensor, quantState: QuantState, options: Linear4bitOptions = {}) {
    super(packed, quantState, options.bias);
    [this.outFeatures, this.inFeatures] = quantState.shape as [number, number];
    this.computeDtype = options.computeDtype;
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
   * A layer from the entries of a state dict below `prefix`; its tensors share their storage.
   * @throws QuantStateError when an entry is missing or of another format
   */
  static fromStateDict(
    state: ReadonlyMap<string, Tensor>,
    prefix: string,
    options: Pick<Linear4bitOptions, 'computeDtype'> = {},
  ): Linear4bit {
    return scope(() => {
      const { packed, quantState } = packedFromStateDict(state, prefix);
      const bias = state.get(prefix === '' ? 'bias' : `${prefix}.bias`);
      return new Linear4bit(packed, quantState, { bias: bias?.detach(), ...options });
    });
  }

  /**
   * x [..., inFeatures] gives [..., outFeatures] in the dtype of x; under `autocast` in bfloat16, as
   * `nn.Linear` does.
   */
  forward(x: Tensor): Tensor {
    const { computeDtype, quantState, weight, bias } = this;
    if (computeDtype === undefined && isAutocasting() && x.dtype === 'float32') {
      return matmul4bit(x.to('bfloat16'), weight, quantState, bias);
    }
    if (computeDtype === undefined || x.dtype === computeDtype) {
      return matmul4bit(x, weight, quantState, bias);
    }
    return matmul4bit(x.to(computeDtype), weight, quantState, bias).to(x.dtype);
  }
}
