import { keep, nn, scope, type Tensor } from '../torch';
import { QuantState } from './quant-state';
import { packedShape, storedParts, type StoredPart } from './quantize';
import { QuantStateError, quantStateKey } from './quant-state-json';

/**
 * A module around one frozen matrix in NF4. In a state dict the matrix has bitsandbytes' entries:
 * `weight` (packed, uint8), `weight.absmax`, `weight.quant_map`, with double quantisation
 * `weight.nested_absmax` and `weight.nested_quant_map`, and
 * `weight.quant_state.bitsandbytes__nf4`.
 */
export abstract class PackedModule extends nn.Module {
  /** Packed: its dtype is uint8 and its shape tells nothing; see `quantState`. */
  readonly weight: Tensor;
  readonly quantState: QuantState;
  readonly bias: Tensor | undefined;
  readonly #json: Tensor;

  /** Takes the tensors over: they live as long as this module, out of every scope. */
  protected constructor(packed: Tensor, quantState: QuantState, bias?: Tensor) {
    super();
    if (quantState.shape.length !== 2) {
      throw new QuantStateError(
        `a 4-bit layer needs a matrix, got a weight of shape [${quantState.shape.join(', ')}]`,
      );
    }
    this.weight = nn.parameter(packed, false);
    this.quantState = keep(quantState);
    this.bias = bias && nn.parameter(bias, bias.requiresGrad);
    this.#json = nn.parameter(quantState.packedJson(), false);
  }

  /** @throws QuantStateError unless it is there: what is packed is moved when it is loaded. */
  override checkMove(device: string): void {
    if (this.weight.device === device) return;
    throw new QuantStateError(
      `a 4-bit layer stays on ${this.weight.device}; load the model where it is used: ` +
        `loadModel(dir, { device: '${device}' })`,
    );
  }

  override *ownTensors(): IterableIterator<[string, Tensor]> {
    yield ['weight', this.weight];
    if (this.bias !== undefined) yield ['bias', this.bias];
    for (const [name, value] of this.quantState.namedTensors()) yield [`weight.${name}`, value];
    yield [`weight.${quantStateKey}`, this.#json];
  }
}

/**
 * The matrix below `prefix` (`X` for `X.weight`, `X.weight.absmax`, …) of a state dict, whose
 * storage it shares.
 * @throws QuantStateError when an entry is missing or of another format
 */
export function packedFromStateDict(
  state: ReadonlyMap<string, Tensor>,
  prefix: string,
): { packed: Tensor; quantState: QuantState } {
  const name = prefix === '' ? 'weight' : `${prefix}.weight`;
  const stored = state.get(name);
  if (stored === undefined) throw new QuantStateError(`${name} is missing in the state dict`);
  return scope(() => {
    const quantState = QuantState.fromStateDict(state, name);
    // bitsandbytes can store the bytes under another dtype (quant_storage).
    const bytes = stored.dtype === 'uint8' ? stored : stored.reshape([-1]).viewDtype('uint8');
    checkPart(name, bytes, ['', 'uint8', packedShape(quantState.shape)]);
    const { shape, blockSize, nested } = quantState;
    const parts = new Map(quantState.namedTensors());
    for (const part of storedParts(shape, { blockSize, doubleQuant: nested !== undefined })) {
      checkPart(`${name}.${part[0]}`, parts.get(part[0])!, part);
    }
    return { packed: bytes.reshape([-1, 1]), quantState };
  });
}

/** The kernels check this, too, but only when the weight is used. */
function checkPart(name: string, part: Tensor, [, dtype, shape]: StoredPart): void {
  const want = shape.reduce((product, size) => product * size, 1);
  if (part.dtype === dtype && part.numel === want) return;
  throw new QuantStateError(
    `${name} has ${part.numel} values of ${part.dtype}, its description needs ${want} of ${dtype}; fetch the checkpoint again`,
  );
}

/** Whether a state dict holds `${prefix}.weight` in NF4. */
export function isQuantized(state: Pick<nn.StateDict, 'has'>, prefix: string): boolean {
  return state.has(`${prefix}.weight.${quantStateKey}`);
}
