/** The 4-bit NormalFloat format of QLoRA and bitsandbytes, and the linear layer that uses it. */
export { isQuantized, Linear4bit, type Linear4bitOptions } from './linear-4bit';
export { QuantState, type NestedState } from './quant-state';
export { QuantStateError, type BlockSize, type FloatDType } from './quant-state-json';
export {
  dequantizeNf4,
  matmul4bit,
  quantizeNf4,
  type Quantized,
  type QuantizeOptions,
} from './quantize';
