/**
 * What is no ordinary number, and what does not lie in order, on every path of this processor: the
 * results are those of decoding the whole weight and multiplying that, as bitsandbytes documents
 * `matmul_4bit`, and NaN and infinities come out where they do there.
 */
import fc from 'fast-check';
import {
  dequantizeNf4,
  embedding4bit,
  matmul4bit,
  QuantState,
  quantizeNf4,
  type FloatDType,
  type Quantized,
  type QuantizeOptions,
} from '../../lib/nf4';
import { backward, scope, tensor, type Tensor } from '../../lib/torch';
import { binding } from '../../lib/torch/binding';
import {
  blockSize,
  check,
  chosen,
  dtype,
  error,
  on,
  paths,
  roundings,
  seed,
  source,
  specials,
} from './kernels';
import { base64, values } from './vectors';

afterEach(() => void binding.nf4UseCpuPath(chosen));

/** How a matrix lies in memory. */
const layouts = [
  'in order',
  'transposed',
  'every second column',
  'part of rows',
  'repeated',
] as const;
type Layout = (typeof layouts)[number];
const layout = fc.constantFrom(...layouts);

/** [rows, columns] of values in a layout; `repeated` has the first row at every place. */
function laidOut(
  numbers: Float32Array,
  [rows, columns]: [number, number],
  how: Layout,
  type: FloatDType,
): Tensor {
  const x = tensor(numbers, { dtype: type }).reshape([rows, columns]);
  switch (how) {
    case 'in order':
      return x;
    case 'transposed':
      return x.transpose(0, 1).contiguous().transpose(0, 1);
    case 'every second column':
      return x.unsqueeze(-1).expand([rows, columns, 2]).contiguous().select(2, 1);
    case 'part of rows':
      return x
        .unsqueeze(1)
        .expand([rows, 3, columns])
        .reshape([rows, 3 * columns])
        .narrow(1, columns, columns);
    case 'repeated':
      return x.narrow(0, 0, 1).expand([rows, columns]);
  }
}

/** Of a block that is empty, too small for its reciprocal, or not finite. */
const scale = fc.constantFrom(0, 1e-45, 1e-40, 1e-38, 100, NaN, Infinity);
const scales = fc.array(fc.tuple(fc.nat(), scale), { maxLength: 3 });

/** Ordinary blocks, but for the scales of those at `at`, modulo their number. */
function weightOf(
  [rows, columns]: [number, number],
  from: number,
  options: QuantizeOptions,
  at: readonly [number, number][],
): Quantized {
  const plain = tensor(values(rows * columns, from)).reshape([rows, columns]);
  const { packed, quantState } = quantizeNf4(plain, options);
  const { absmax, code, nested } = quantState;
  // Of a nested weight it is whole groups whose scale is none.
  const changed = Float32Array.from((nested?.absmax ?? absmax).toArray());
  for (const [position, value] of at) changed[position % changed.length] = value;
  const state =
    nested === undefined
      ? new QuantState(tensor(changed), code, quantState)
      : new QuantState(absmax, code, quantState, { ...nested, absmax: tensor(changed) });
  return { packed, quantState: state };
}

describe.each(paths)('%s', (path) => {
  test('quantises a view as it does its copy', () => {
    const size = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 90 }));
    check(
      fc.property(
        dtype,
        blockSize,
        size,
        seed,
        specials,
        layout,
        (type, block, shape, from, at, how) =>
          scope(() => {
            const view = laidOut(source(shape[0] * shape[1], from, at), shape, how, type);
            const [want, have] = [view.contiguous(), view].map((x) =>
              on(path, () => {
                const { packed, quantState } = quantizeNf4(x, {
                  blockSize: block,
                  doubleQuant: false,
                });
                return [base64(packed), base64(quantState.absmax)];
              }),
            );
            expect(have).toEqual(want);
          }),
      ),
      150,
    );
  });

  test('gathers the rows that decoding all of them gives, bit for bit', () => {
    const rows = fc.integer({ min: 1, max: 300 });
    const blocks = fc.integer({ min: 1, max: 4 });
    const small = fc.constantFrom(32 as const, 64 as const, 128 as const);
    check(
      fc.property(
        ...[dtype, small, rows, blocks, seed, scales, fc.boolean(), fc.boolean()],
        (type, block, count, width, from, at, doubleQuant, int32) =>
          scope(() => {
            const columns = block * width;
            const options = { blockSize: block, doubleQuant };
            const { packed, quantState } = on('portable', () =>
              weightOf([count, columns], from, options, at),
            );
            const numbers = Array.from({ length: 12 }, (_, i) => (from * (i + 1) + i * i) % count);
            // A view: every second number of a transposed matrix.
            const ids = tensor(numbers.concat(numbers), { dtype: int32 ? 'int32' : 'int64' })
              .reshape([2, 12])
              .transpose(0, 1)
              .select(1, 1)
              .reshape([3, 4])
              .transpose(0, 1);
            const flat = tensor(ids.contiguous().toArray(), { dtype: 'int64' }).reshape([-1]);
            const whole = on('portable', () => dequantizeNf4(packed, quantState, type));
            const have = on(path, () => embedding4bit(ids, packed, quantState, type));
            expect([have.shape, have.dtype]).toEqual([[4, 3, columns], type]);
            expect(base64(have)).toBe(base64(whole.indexSelect(0, flat)));
          }),
      ),
      60,
    );
  });

  const width = fc.oneof(
    fc.integer({ min: 1, max: 300 }),
    fc.integer({ min: 1, max: 6 }).map((groups) => groups * 64),
  );
  const product = fc.record({
    type: dtype,
    size: blockSize,
    batch: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 9, max: 20 })),
    outFeatures: fc.integer({ min: 1, max: 12 }),
    inFeatures: width,
    from: seed,
    doubleQuant: fc.boolean(),
    how: layout,
    gradientHow: layout,
    /** In the activations, the gradient, and the blocks of the weight. */
    inX: specials,
    inGradient: specials,
    inScales: scales,
    inBias: specials,
  });

  test('multiplies and sends gradients back what is not finite, and views', () => {
    check(
      fc.property(product, ({ type, size, batch, outFeatures, inFeatures, from, ...p }) =>
        scope(() => {
          const options = { blockSize: size, doubleQuant: p.doubleQuant };
          const { packed, quantState } = on('portable', () =>
            weightOf([outFeatures, inFeatures], from, options, p.inScales),
          );
          const weight = on('portable', () =>
            dequantizeNf4(packed, quantState, 'float32'),
          ).toArray();
          const moderate = (at: [number, number][]): [number, number][] =>
            at.map(([i, value]) => [
              i,
              Math.abs(value) > 100 && Number.isFinite(value) ? 7 : value,
            ]);
          const numbers = source(batch * inFeatures, from + 1, moderate(p.inX));
          const x = laidOut(numbers, [batch, inFeatures], p.how, type).detach();
          x.requiresGrad = true;
          const bias = tensor(source(outFeatures, from + 2, moderate(p.inBias)), { dtype: type });
          const gradient = laidOut(
            source(batch * outFeatures, from + 3, moderate(p.inGradient)),
            [batch, outFeatures],
            p.gradientHow,
            type,
          );
          on(path, () => {
            const y = matmul4bit(x, packed, quantState, bias);
            backward(y, gradient);
            const rounding =
              path === 'avx512bf16' && type === 'bfloat16' ? roundings.bfloat16[0] : 0;
            const forward = error(
              y,
              x.detach().toArray(),
              (k, n) => weight[n * inFeatures + k]!,
              bias.toArray(),
              rounding,
            );
            const back = error(
              x.grad!,
              gradient.toArray(),
              (k, n) => weight[k * inFeatures + n]!,
              undefined,
              rounding,
            );
            expect([forward < 1, back < 1, forward, back]).toEqual([true, true, forward, back]);
          });
        }),
      ),
      150,
    );
  });
});
