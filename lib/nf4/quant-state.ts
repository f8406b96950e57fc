import { Tensor, tensor, type TensorOwner } from '../torch';
import { binding } from '../torch/binding';
import {
  formatQuantState,
  parseQuantState,
  quantStateKey,
  QuantStateError,
  type QuantStateJson,
} from './quant-state-json';

/** Absmax in 8 bits: the parts of bitsandbytes' `state2`, and the offset. */
export interface NestedState {
  /** float32 [ceil(blocks / 256)] */
  readonly absmax: Tensor;
  /** float32 [256], ascending */
  readonly code: Tensor;
  /** The mean of the blocks' absmax, subtracted before they were quantised. */
  readonly offset: number;
}

/** All that is needed to read a packed NF4 weight: bitsandbytes' `QuantState`. */
export class QuantState implements TensorOwner {
  readonly quantType = 'nf4';
  readonly blockSize: QuantStateJson['blockSize'];
  /** Of the weight before it was quantised. */
  readonly dtype: QuantStateJson['dtype'];
  /** Of the weight before it was quantised. */
  readonly shape: readonly number[];

  /**
   * @param absmax one a block: float32, or with `nested` uint8
   * @param code the codebook, float32 [16]
   */
  constructor(
    readonly absmax: Tensor,
    readonly code: Tensor,
    description: Pick<QuantStateJson, 'blockSize' | 'dtype' | 'shape'>,
    readonly nested: NestedState | undefined = undefined,
  ) {
    this.blockSize = description.blockSize;
    this.dtype = description.dtype;
    this.shape = description.shape;
  }

  /** The number of values. */
  get numel(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  /** The tensors by bitsandbytes' names below `weight.`, the JSON apart. */
  *namedTensors(): IterableIterator<[string, Tensor]> {
    yield ['absmax', this.absmax];
    yield ['quant_map', this.code];
    if (this.nested === undefined) return;
    yield ['nested_absmax', this.nested.absmax];
    yield ['nested_quant_map', this.nested.code];
  }

  /** @internal What leaves a scope with this state. */
  *ownedTensors(): Iterable<Tensor> {
    for (const [, value] of this.namedTensors()) yield value;
  }

  /** The JSON tensor, uint8 [bytes], as bitsandbytes writes it. */
  packedJson(): Tensor {
    const { blockSize, dtype, shape, nested } = this;
    return tensor(formatQuantState({ blockSize, dtype, shape, nestedOffset: nested?.offset }), {
      device: this.absmax.device,
    });
  }

  /**
   * Reads a weight's state from a state dict; its tensors share the storage of the dict's.
   * @param name of the weight, such as `lm_head.weight`
   * @throws QuantStateError when a part is missing, of another format or not NF4
   */
  static fromStateDict(state: ReadonlyMap<string, Tensor>, name: string): QuantState {
    const jsonName = `${name}.${quantStateKey}`;
    const json = parseQuantState(part(state, jsonName).toBytes(), jsonName);
    const take = (key: string): Tensor => part(state, `${name}.${key}`).detach();
    checkCodebook(part(state, `${name}.quant_map`), `${name}.quant_map`);
    const nested =
      json.nestedOffset === undefined
        ? undefined
        : {
            absmax: take('nested_absmax'),
            code: take('nested_quant_map'),
            offset: json.nestedOffset,
          };
    return new QuantState(take('absmax'), take('quant_map'), json, nested);
  }

  /** Frees its tensors, those of the nested state included. */
  dispose(): void {
    for (const [, value] of this.namedTensors()) value.dispose();
  }
}

function part(state: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const value = state.get(name);
  if (value !== undefined) return value;
  if (state.has(name.replace(/bitsandbytes__nf4$/, 'bitsandbytes__fp4'))) {
    throw new QuantStateError(`${name} is missing: the weight is FP4; quantise it to NF4`);
  }
  throw new QuantStateError(
    `${name} is missing: the weight is not one that bitsandbytes quantised to NF4`,
  );
}

/** The kernels know one codebook; a checkpoint with another would silently be read wrong. */
function checkCodebook(code: Tensor, name: string): void {
  const own = Tensor.from(binding.nf4Codebook('cpu'));
  const [want, have] = [own.toArray(), code.toArray()];
  own.dispose();
  if (
    code.dtype === 'float32' &&
    have.length === want.length &&
    have.every((x, i) => Math.abs(x - want[i]!) < 1e-6)
  )
    return;
  throw new QuantStateError(`${name} is not the NF4 codebook; quantise with quant_type nf4`);
}
