/** The element types, in the order of their codes in the addon (native/bridge/convert.h). */
export const dtypes = [
  'float32',
  'bfloat16',
  'float16',
  'int64',
  'int32',
  'uint8',
  'bool',
  'float64',
] as const;

/** The name of an element type, as PyTorch has it. */
export type DType = (typeof dtypes)[number];

/** Bytes of one element. */
export const dtypeSize: Record<DType, number> = {
  float32: 4,
  bfloat16: 2,
  float16: 2,
  int64: 8,
  int32: 4,
  uint8: 1,
  bool: 1,
  float64: 8,
};

export function dtypeCode(dtype: DType): number {
  return dtypes.indexOf(dtype);
}

export function isFloating(dtype: DType): boolean {
  return dtype.includes('float');
}
