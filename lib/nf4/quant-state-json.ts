import { PareError, shown } from '../errors';
import type { DType } from '../torch';

/** A 4-bit weight's description is missing, of another format, or does not fit its tensors. */
export class QuantStateError extends PareError {}

/** The types that a weight can have had before it was quantised. */
export type FloatDType = Extract<DType, 'float32' | 'bfloat16' | 'float16'>;

/** The name of the JSON tensor below the weight's name. */
export const quantStateKey = 'quant_state.bitsandbytes__nf4';

/** Values that share one absmax. */
export type BlockSize = 32 | 64 | 128 | 256 | 512 | 1024 | 2048 | 4096;

export const blockSizes: readonly BlockSize[] = [32, 64, 128, 256, 512, 1024, 2048, 4096];
const floatDtypes: readonly FloatDType[] = ['float32', 'bfloat16', 'float16'];

/** What bitsandbytes keeps beside the tensors of a weight, as JSON in a uint8 tensor. */
export interface QuantStateJson {
  blockSize: BlockSize;
  dtype: FloatDType;
  shape: readonly number[];
  /** Absent without double quantisation. */
  nestedOffset: number | undefined;
}

/** The size of the groups of absmax in double quantisation; bitsandbytes knows no other. */
export const nestedBlockSize = 256;

/** Byte for byte the JSON of bitsandbytes' `QuantState.as_dict(packed=True)`. */
export function formatQuantState(state: QuantStateJson): Uint8Array {
  const fields = [
    '"quant_type": "nf4"',
    `"blocksize": ${state.blockSize}`,
    `"dtype": "${state.dtype}"`,
    `"shape": [${state.shape.join(', ')}]`,
  ];
  if (state.nestedOffset !== undefined) {
    fields.push(
      `"nested_blocksize": ${nestedBlockSize}`,
      '"nested_dtype": "float32"',
      `"nested_offset": ${formatFloat(state.nestedOffset)}`,
    );
  }
  return new TextEncoder().encode(`{${fields.join(', ')}}`);
}

/** A number as Python's `json.dumps` writes a float: the same digits, other rules of layout. */
export function formatFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [mantissa, exponent] = value.toExponential().split('e') as [string, string];
  const power = Number(exponent);
  if (power < -4 || power >= 16) {
    return `${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
  }
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

const nonFinite: readonly string[] = ['NaN', 'Infinity', '-Infinity'];

/** Python's json writes the mean of blocks that are not finite as a word, which is no JSON. */
function quotedNumbers(text: string): string {
  return text.replace(/("nested_offset": )(NaN|-?Infinity)(?=[,}])/, '$1"$2"');
}

/**
 * @param bytes of the tensor `….quant_state.bitsandbytes__nf4`
 * @param name of that tensor, for errors
 * @throws QuantStateError
 */
export function parseQuantState(bytes: Uint8Array, name: string): QuantStateJson {
  let json: Partial<Record<string, unknown>>;
  try {
    json = JSON.parse(quotedNumbers(new TextDecoder().decode(bytes))) as typeof json;
    if (typeof json !== 'object' || json === null) throw new Error('no object');
  } catch (cause) {
    throw new QuantStateError(`${name} is not JSON: the checkpoint is damaged; fetch it again`, {
      cause,
    });
  }
  const expect = <T>(field: string, allowed: readonly T[]): T => {
    const value = json[field] as T;
    if (allowed.includes(value)) return value;
    throw new QuantStateError(
      `${name} has ${field} ${shown(value)}; supported: ${allowed.join(', ')}`,
    );
  };
  expect('quant_type', ['nf4']);
  const { shape, nested_offset: offset } = json;
  const nestedOffset = nonFinite.includes(offset as string) ? Number(offset) : offset;
  if (!Array.isArray(shape) || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new QuantStateError(`${name} has no shape: the checkpoint is damaged; fetch it again`);
  }
  if (nestedOffset !== undefined) {
    expect('nested_blocksize', [nestedBlockSize]);
    expect('nested_dtype', ['float32']);
    if (typeof nestedOffset !== 'number') {
      throw new QuantStateError(`${name} has nested_offset ${shown(nestedOffset)}`);
    }
  }
  return {
    blockSize: expect('blocksize', blockSizes),
    dtype: expect('dtype', floatDtypes),
    shape: shape as number[],
    nestedOffset,
  };
}
