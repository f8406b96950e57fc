import { dequantizeNf4, quantizeNf4, QuantState, QuantStateError } from '../../lib/nf4';
import { formatFloat, parseQuantState } from '../../lib/nf4/quant-state-json';
import { memory, scope, tensor, zeros, type Tensor } from '../../lib/torch';
import { base64, float32, relativeError, sha256, values, valuesTensor, vectors } from './vectors';

function jsonOf(state: QuantState): string {
  return Buffer.from(state.packedJson().toBytes()).toString();
}

describe('quantizeNf4 writes what bitsandbytes writes', () => {
  test.each(vectors.plain.map((v) => [`${v.dtype}, blocks of ${v.blockSize}`, v] as const))(
    '%s, the last one ragged and odd',
    (_, v) => {
      scope(() => {
        const source = valuesTensor([v.count], v.dtype, v.seed);
        const { packed, quantState } = quantizeNf4(source, {
          blockSize: v.blockSize,
          doubleQuant: false,
        });
        expect(packed.shape).toEqual(v.packedShape);
        expect(base64(packed)).toBe(v.packed);
        expect(quantState.absmax.dtype).toBe('float32');
        expect(base64(quantState.absmax)).toBe(v.absmax);
        expect(base64(quantState.code)).toBe(vectors.codebook);
        expect(jsonOf(quantState)).toBe(
          `{"quant_type": "nf4", "blocksize": ${v.blockSize}, "dtype": "${v.dtype}", ` +
            `"shape": [${v.count}]}`,
        );
        const restored = dequantizeNf4(packed, quantState);
        expect(restored.dtype).toBe(v.dtype);
        expect(restored.shape).toEqual([v.count]);
        expect(sha256(restored)).toBe(v.dequantizedSha256);
      });
    },
  );

  test.each(vectors.special.map((v) => [v.title, v.dtype, v] as const))('%s, %s', (_, __, v) => {
    scope(() => {
      const source = tensor(float32(v.values), { dtype: v.dtype });
      const { packed, quantState } = quantizeNf4(source, { doubleQuant: false });
      expect(base64(packed)).toBe(v.packed);
      expect(base64(quantState.absmax)).toBe(v.absmax);
      expect(base64(dequantizeNf4(packed, quantState))).toBe(v.dequantized);
      // Two or three blocks: their mean does not depend on the order of the sum.
      const nested = quantizeNf4(source).quantState;
      expect(base64(nested.absmax)).toBe(v.nestedCodes);
      expect(base64(nested.nested!.absmax)).toBe(v.nestedAbsmax);
      expect(jsonOf(nested)).toBe(v.quantState);
    });
  });

  test.each(vectors.nested.map((v) => [`${v.dtype} [${v.shape.join()}]`, v] as const))(
    'double quantisation, %s',
    (_, v) => {
      scope(() => {
        const source = valuesTensor(v.shape, v.dtype, v.seed, v.peakEvery);
        const { packed, quantState } = quantizeNf4(source, { blockSize: v.blockSize });
        expect(sha256(packed)).toBe(v.packedSha256);
        expect(base64(quantState.nested!.code)).toBe(vectors.dynamicMap);
        if (v.exactMean) {
          expect(base64(quantState.absmax)).toBe(v.entries.absmax);
          expect(base64(quantState.nested!.absmax)).toBe(v.entries.nested_absmax);
          expect(jsonOf(quantState)).toBe(v.quantState);
          expect(sha256(dequantizeNf4(packed, quantState))).toBe(v.dequantizedSha256);
        } else {
          // The last digit of the mean depends on how wide the machine's vectors are.
          const json = Buffer.from(v.quantState);
          const { nestedOffset } = parseQuantState(json, 'vector');
          expect(quantState.nested!.offset / nestedOffset!).toBeCloseTo(1, 6);
          const groups = float32(v.entries.nested_absmax);
          expect(relativeError(quantState.nested!.absmax, groups)).toBeLessThan(1e-5);
        }
      });
    },
  );

  test('a long bfloat16 tensor, quantised piece by piece, is the same as its float32 copy', () => {
    scope(() => {
      const source = valuesTensor([1023, 1031], 'bfloat16', 3); // more than one piece
      const half = quantizeNf4(source, { blockSize: 4096 });
      const full = quantizeNf4(source.to('float32'), { blockSize: 4096 });
      expect(sha256(half.packed)).toBe(sha256(full.packed));
      expect(sha256(half.quantState.absmax)).toBe(sha256(full.quantState.absmax));
      const restored = dequantizeNf4(half.packed, half.quantState);
      const reference = dequantizeNf4(full.packed, full.quantState).to('bfloat16');
      expect(sha256(restored)).toBe(sha256(reference));
    });
  });

  test('a transposed matrix is quantised in the order of its rows', () => {
    scope(() => {
      const source = valuesTensor([50, 70], 'float32', 4).transpose(0, 1);
      const { packed } = quantizeNf4(source);
      expect(base64(packed)).toBe(base64(quantizeNf4(source.contiguous()).packed));
    });
  });

  test('the error is small: a normal weight loses about a tenth of its deviation', () => {
    scope(() => {
      const source = valuesTensor([256, 256], 'float32', 9);
      const { packed, quantState } = quantizeNf4(source);
      const error = dequantizeNf4(packed, quantState).sub(source).square().mean().item();
      expect(Math.sqrt(error / source.square().mean().item())).toBeLessThan(0.12);
    });
  });

  test('an empty tensor', () => {
    scope(() => {
      const { packed, quantState } = quantizeNf4(zeros([0, 8]), { doubleQuant: false });
      expect(packed.shape).toEqual([0, 1]);
      expect(dequantizeNf4(packed, quantState).shape).toEqual([0, 8]);
    });
  });

  test('leaves no tensor behind', () => {
    const before = memory();
    for (let i = 0; i < 3; i++) {
      scope(() => void quantizeNf4(valuesTensor([64, 64], 'float32', 1)));
    }
    expect(memory()).toEqual(before);
  });
});

describe('bad input', () => {
  const quantized = (): { packed: Tensor; quantState: QuantState } =>
    quantizeNf4(tensor(values(300, 1)), { doubleQuant: true });

  test('a dtype that cannot be quantised', () => {
    scope(() => {
      const source = tensor([1, 2], { dtype: 'int64' });
      expect(() => quantizeNf4(source)).toThrow(QuantStateError);
      expect(() => quantizeNf4(source)).toThrow(/int64/);
    });
  });

  test('a block size that does not exist', () => {
    scope(() => {
      const source = tensor(values(100, 1));
      expect(() => quantizeNf4(source, { blockSize: 100 as 64 })).toThrow(/block size 100/);
    });
  });

  test('parts that do not fit each other', () => {
    scope(() => {
      const { packed, quantState } = quantized();
      const { absmax, code, nested } = quantState;
      const as = (shape: number[]): QuantState =>
        new QuantState(absmax, code, { blockSize: 64, dtype: 'float32', shape }, nested);
      expect(() => dequantizeNf4(packed, as([302]))).toThrow(/151 contiguous uint8/);
      const short = packed.narrow(0, 0, 100);
      expect(() => dequantizeNf4(short, as([200]))).toThrow(/absmax: 4 blocks/);
      const wrong = new QuantState(absmax, code, quantState); // 8-bit absmax without its map
      expect(() => dequantizeNf4(packed, wrong)).toThrow(/float32/);
    });
  });

  test.each([
    ['not json', /not JSON/],
    [
      '{"quant_type": "fp4", "blocksize": 64, "dtype": "float32", "shape": [1]}',
      /quant_type "fp4"/,
    ],
    ['{"quant_type": "nf4", "blocksize": 48, "dtype": "float32", "shape": [1]}', /blocksize 48/],
    ['{"quant_type": "nf4", "blocksize": 64, "dtype": "int8", "shape": [1]}', /dtype "int8"/],
    ['{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": null}', /no shape/],
    [
      '{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [1], ' +
        '"nested_blocksize": 128, "nested_dtype": "float32", "nested_offset": 1.0}',
      /nested_blocksize 128/,
    ],
  ])('the JSON %s', (json, message) => {
    expect(() => parseQuantState(Buffer.from(json), 'w.quant_state.bitsandbytes__nf4')).toThrow(
      message,
    );
  });
});

// Left: numbers as JavaScript has them; right: what Python's json.dumps writes.
test.each([
  [0, '0.0'],
  [-0, '-0.0'],
  [2, '2.0'],
  [2.35546875, '2.35546875'],
  [0.0001, '0.0001'],
  [0.00001, '1e-05'],
  [1.5e-7, '1.5e-07'],
  [9.999999350456404e-39, '9.999999350456404e-39'],
  [123456789012345680, '1.2345678901234568e+17'],
  [1e15, '1000000000000000.0'],
  [1e16, '1e+16'],
  [-1e300, '-1e+300'],
  [Infinity, 'Infinity'],
  [NaN, 'NaN'],
])('%d is written as Python writes it, %s', (value, text) => {
  expect(formatFloat(value)).toBe(text);
});
