/** The 4-bit NormalFloat format of QLoRA and bitsandbytes, and the modules that use it. */
export { Embedding4bit } from './embedding-4bit';
export { Linear4bit, type Linear4bitOptions } from './linear-4bit';
export { isQuantized, PackedModule } from './packed-module';
export { QuantState, type NestedState } from './quant-state';
export {
  quantStateKey,
  QuantStateError,
  type BlockSize,
  type FloatDType,
} from './quant-state-json';
export {
  dequantizeNf4,
  embedding4bit,
  emptyPacked,
  matmul4bit,
  packedShape,
  PiecewiseQuantizer,
  quantizeNf4,
  storedParts,
  type Quantized,
  type QuantizeOptions,
} from './quantize';
