/**
 * The CUDA kernels' own sources, run on this machine by test/cuda-emulator, against the CPU's
 * kernels: the same bytes where nothing is summed, else within the rounding of the result.
 */
import {
  dequantizeNf4,
  quantizeNf4,
  type BlockSize,
  type FloatDType,
  type QuantState,
} from '../../lib/nf4';
import { functional as F, scope, Tensor, tensor } from '../../lib/torch';
import { binding } from '../../lib/torch/binding';
import { elements, runCases, type KernelCase } from '../cuda-emulator/emulate';
import { float32, valuesTensor, vectors } from './vectors';

const dtypes = ['float32', 'bfloat16', 'float16'] as const;
const blockSizes: BlockSize[] = [32, 64, 128, 256, 512, 1024, 2048, 4096];

/** The largest error of a rounding, relative to the value. */
const unit = { float32: 2 ** -24, bfloat16: 2 ** -8, float16: 2 ** -11 };

/** A case and what must come of it. */
interface Check extends KernelCase {
  verify(results: Uint8Array[]): void;
}

/** Runs all in one program, the threads in both orders. */
async function check(make: () => Check[]): Promise<void> {
  const cases = scope(() =>
    make().map((c) => ({
      ...c,
      // Bytes, which outlive the scope.
      buffers: c.buffers.map((b) => (ArrayBuffer.isView(b) ? b : b.toBytes())),
    })),
  );
  for (const backwards of [false, true]) {
    const results = await runCases(cases, { backwards });
    scope(() => cases.forEach((c, i) => c.verify(results[i]!)));
  }
}

const nothing = new Uint8Array();

/** What cases.cc takes as scales: three buffers, and the offset. */
function scalesOf(state: QuantState): { buffers: (Tensor | Uint8Array)[]; offset: number } {
  const { absmax, nested } = state;
  if (nested === undefined) return { buffers: [absmax, nothing, nothing], offset: 0 };
  return { buffers: [nested.absmax, absmax, nested.code], offset: nested.offset };
}

function floatsOf(bytes: Uint8Array, dtype: FloatDType): Tensor {
  const raw = dtype === 'float32' ? new Float32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
  if (raw instanceof Float32Array) return tensor(raw);
  // bfloat16 and float16 by their bits.
  return tensor(Float32Array.from(raw, dtype === 'bfloat16' ? fromBFloat16 : fromFloat16));
}

function fromBFloat16(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
}

function fromFloat16(bits: number): number {
  const [sign, exponent, mantissa] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + mantissa) : 2 ** -24 * mantissa);
}

function sameBytes(expected: Tensor): (results: Uint8Array[]) => void {
  const bytes = Buffer.from(expected.toBytes());
  return ([result]) => expect(Buffer.from(result!).equals(bytes)).toBe(true);
}

describe.each(dtypes)('%s', (dtype) => {
  test('quantise: the same bytes', () =>
    check(() =>
      blockSizes.flatMap((blockSize) =>
        [1, blockSize - 1, 2 * blockSize + 37, 3 * blockSize + 8].map((count) => {
          const source = valuesTensor([count], dtype, blockSize, 97);
          const own = quantizeNf4(source, { blockSize, doubleQuant: false });
          const wanted = [own.packed, own.quantState.absmax].map((t) => Buffer.from(t.toBytes()));
          return {
            name: 'quantize',
            args: [elements[dtype], count, blockSize],
            buffers: [source],
            outputs: 2,
            verify: (results) => expect(results.map((r) => Buffer.from(r))).toEqual(wanted),
          };
        }),
      ),
    ));

  test('quantise: special values', () =>
    check(() =>
      vectors.special
        .filter((v) => v.dtype === dtype)
        .map((v) => {
          const source = tensor(float32(v.values), { dtype });
          return {
            name: 'quantize',
            args: [elements[dtype], source.numel, 64],
            buffers: [source],
            outputs: 2,
            verify: (results) =>
              expect(results.map((r) => Buffer.from(r).toString('base64'))).toEqual([
                v.packed,
                v.absmax,
              ]),
          };
        }),
    ));

  test('decode: tiles and rows, the same bytes', () =>
    check(() =>
      blockSizes.flatMap((blockSize, i) =>
        [false, true].flatMap((doubleQuant): Check[] => {
          // Widths that eight divides and does not, and blocks that straddle rows.
          const [rows, width] = [9, i % 2 === 0 ? 72 : 45];
          const { packed, quantState } = quantizeNf4(valuesTensor([rows, width], dtype, i), {
            blockSize,
            doubleQuant,
          });
          const dense = dequantizeNf4(packed, quantState);
          const { buffers, offset } = scalesOf(quantState);
          const tile = (row: number, count: number, column: number, columns: number): Check => ({
            name: 'dequantize',
            args: [elements[dtype], blockSize, width, row, count, column, columns, offset],
            buffers: [packed, ...buffers],
            verify: sameBytes(dense.narrow(0, row, count).narrow(1, column, columns).contiguous()),
          });
          const ids = [8, 0, 3, 3, 7];
          return [
            tile(0, rows, 0, width),
            tile(2, 5, 8, 16),
            tile(1, 3, 5, 11),
            {
              name: 'gather',
              args: [elements[dtype], blockSize, rows, width, offset],
              buffers: [packed, ...buffers, BigInt64Array.from(ids, BigInt)],
              verify: sameBytes(dense.indexSelect(0, tensor(ids, { dtype: 'int64' }))),
            },
          ];
        }),
      ),
    ));
});

test('quantise absmax: the same codes', () =>
  check(() =>
    [1, 255, 256, 700].map((count) => {
      const absmax = valuesTensor([count], 'float32', count);
      const [codes, groups] = binding
        .nf4QuantizeAbsmax(absmax.id)!
        .map((id) => Buffer.from(Tensor.from(id).toBytes()));
      const centred = absmax.sub(absmax.mean());
      return {
        name: 'quantizeAbsmax',
        args: [count],
        buffers: [centred, Tensor.from(binding.dynamicMap(true, 'cpu'))],
        outputs: 2,
        verify: (results) => expect(results.map((r) => Buffer.from(r))).toEqual([codes, groups]),
      };
    }),
  ));

interface Shape {
  rows: number;
  outFeatures: number;
  inFeatures: number;
  blockSize: BlockSize;
  doubleQuant?: boolean;
  bias?: boolean;
  splits?: number;
}

/** x, weight and bias of a product, and the weight decoded. */
function operands(shape: Shape, dtype: FloatDType) {
  const { rows, outFeatures, inFeatures, blockSize, doubleQuant = false } = shape;
  const { packed, quantState } = quantizeNf4(
    valuesTensor([outFeatures, inFeatures], 'float32', outFeatures),
    { blockSize, doubleQuant },
  );
  return {
    packed,
    quantState,
    x: valuesTensor([rows, inFeatures], dtype, rows),
    gradOutput: valuesTensor([rows, outFeatures], dtype, rows + 1),
    bias: shape.bias ? valuesTensor([outFeatures], dtype, 5) : undefined,
  };
}

/** Rounded from a sum in float32, in whatever order. */
function closeTo(expected: Tensor, dtype: FloatDType): Check['verify'] {
  const wanted = expected.toArray();
  const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return ([result]) => {
    const have = floatsOf(result!, dtype).toArray();
    expect(have).toHaveLength(wanted.length);
    for (const [i, value] of have.entries()) {
      const allowed = unit[dtype] * Math.abs(wanted[i]!) + 4e-6 * largest;
      // Written so that NaN fails.
      if (!(Math.abs(value - wanted[i]!) <= allowed)) expect([i, value]).toEqual([i, wanted[i]]);
    }
  };
}

/** Entries of the codebook rounded to `dtype`, times absmax in float32. */
function roundedCodes(packed: Tensor, state: QuantState, dtype: FloatDType): Tensor {
  const code = state.code.to(dtype).to('float32').toArray();
  const codes = Array.from(packed.toBytes()).flatMap((byte) => [
    code[byte >> 4]!,
    code[byte & 15]!,
  ]);
  // The last code is 1: what it decodes to is its block's absmax.
  const ones = tensor(new Uint8Array(packed.numel).fill(0xff));
  const absmax = dequantizeNf4(ones, state, 'float32');
  return tensor(Float32Array.from(codes), { shape: absmax.shape }).mul(absmax);
}

describe.each(dtypes)('products of few rows, %s', (dtype) => {
  const shapes: Shape[] = [
    { rows: 1, outFeatures: 16, inFeatures: 64, blockSize: 64 },
    { rows: 1, outFeatures: 40, inFeatures: 2304, blockSize: 64, doubleQuant: true, bias: true },
    { rows: 2, outFeatures: 5, inFeatures: 128, blockSize: 32, doubleQuant: true },
    { rows: 3, outFeatures: 33, inFeatures: 1088, blockSize: 32, bias: true },
    { rows: 4, outFeatures: 17, inFeatures: 320, blockSize: 128, doubleQuant: true },
    { rows: 5, outFeatures: 18, inFeatures: 192, blockSize: 4096, doubleQuant: true },
    { rows: 7, outFeatures: 24, inFeatures: 4160, blockSize: 256, bias: true },
    { rows: 8, outFeatures: 35, inFeatures: 1280, blockSize: 64, doubleQuant: true, bias: true },
    { rows: 6, outFeatures: 90, inFeatures: 64, blockSize: 32, doubleQuant: true },
  ];
  test('against the decoded weight', () =>
    check(() =>
      shapes.map((shape) => {
        const { rows, outFeatures, inFeatures, blockSize } = shape;
        const { packed, quantState, x, bias } = operands(shape, dtype);
        const weight =
          dtype === 'float32'
            ? dequantizeNf4(packed, quantState, dtype)
            : roundedCodes(packed, quantState, dtype);
        const { buffers, offset } = scalesOf(quantState);
        return {
          name: 'smallBatch',
          // With so few multiprocessors that thread blocks compute outputs one after the other.
          args: [elements[dtype], rows, outFeatures, inFeatures, blockSize, 1 + (rows % 2), offset],
          buffers: [x, packed, ...buffers, bias ?? nothing],
          verify: closeTo(F.linear(x.to('float32'), weight, bias?.to('float32')), dtype),
        };
      }),
    ));
});

describe.each(['bfloat16', 'float16'] as const)('products on tensor cores, %s', (dtype) => {
  const shapes: Shape[] = [
    // Each tile, whole and ragged, one step and several, split or not.
    { rows: 9, outFeatures: 64, inFeatures: 64, blockSize: 64 },
    { rows: 16, outFeatures: 72, inFeatures: 320, blockSize: 32, doubleQuant: true, bias: true },
    { rows: 16, outFeatures: 200, inFeatures: 640, blockSize: 64, splits: 3, bias: true },
    { rows: 17, outFeatures: 130, inFeatures: 128, blockSize: 128, doubleQuant: true },
    { rows: 32, outFeatures: 8, inFeatures: 448, blockSize: 64, splits: 2 },
    { rows: 33, outFeatures: 96, inFeatures: 192, blockSize: 4096, doubleQuant: true },
    { rows: 64, outFeatures: 136, inFeatures: 256, blockSize: 64, bias: true, splits: 4 },
    { rows: 65, outFeatures: 136, inFeatures: 320, blockSize: 32, doubleQuant: true },
    { rows: 130, outFeatures: 264, inFeatures: 192, blockSize: 64, doubleQuant: true, bias: true },
    { rows: 70, outFeatures: 128, inFeatures: 512, blockSize: 256, splits: 2, doubleQuant: true },
  ];

  function productOf(shape: Shape, backward: boolean): Check {
    const { rows, outFeatures, inFeatures, blockSize, splits = 1 } = shape;
    const { packed, quantState, x, gradOutput, bias } = operands(shape, dtype);
    const weight = dequantizeNf4(packed, quantState, dtype).to('float32');
    const { buffers, offset } = scalesOf(quantState);
    const args = [elements[dtype], rows, outFeatures, inFeatures, blockSize, splits, offset];
    if (backward) {
      return {
        name: 'tensorCoreBackward',
        args,
        buffers: [gradOutput, packed, ...buffers],
        verify: closeTo(gradOutput.to('float32').matmul(weight), dtype),
      };
    }
    return {
      name: 'tensorCore',
      args,
      buffers: [x, packed, ...buffers, bias ?? nothing],
      verify: closeTo(F.linear(x.to('float32'), weight, bias?.to('float32')), dtype),
    };
  }

  test('forward', () => check(() => shapes.map((shape) => productOf(shape, false))));
  test('odd numbers of outputs', () =>
    check(() => [
      productOf({ rows: 20, outFeatures: 67, inFeatures: 128, blockSize: 64, bias: true }, false),
      productOf({ rows: 10, outFeatures: 1, inFeatures: 512, blockSize: 64, splits: 2 }, false),
    ]));
  test('backward', () =>
    check(() =>
      shapes
        .filter(({ outFeatures }) => outFeatures % 8 === 0)
        .map((shape) => productOf(shape, true)),
    ));
});
