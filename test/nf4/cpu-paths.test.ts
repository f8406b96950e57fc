/**
 * The kernels of every instruction set that this processor has, against the portable ones: the
 * same bytes where values are quantised or decoded, the same sums where they are multiplied.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import fc from 'fast-check';
import { dequantizeNf4, matmul4bit, QuantState, quantizeNf4 } from '../../lib/nf4';
import { backward, scope, tensor } from '../../lib/torch';
import { binding } from '../../lib/torch/binding';
import {
  blockSize,
  check,
  chosen,
  count,
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

test('the portable kernels are everywhere, and the fastest are in use unless another is named', () => {
  expect(paths[0]).toBe('portable');
  expect(chosen).toBe(process.env.PARE_NF4_CPU ?? paths.at(-1));
});

describe('PARE_NF4_CPU', () => {
  const addon = process.env.PARE_ADDON ?? join(__dirname, '../../build/pare.node');
  const program = `
    const target = { exports: {} };
    process.dlopen(target, ${JSON.stringify(addon)});
    const name = target.exports.nf4CpuPath();
    console.log(name === undefined ? target.exports.takeError() : name);`;
  const run = (name: string): string =>
    spawnSync(process.execPath, ['-e', program], {
      encoding: 'utf8',
      env: { ...process.env, PARE_NF4_CPU: name },
    }).stdout.trim();

  test.each(paths)('%s is taken', (name) => expect(run(name)).toBe(name));

  test('nothing is as if unset', () => expect(run('')).toBe(paths.at(-1)));

  test('another name is an error that says what there is', () => {
    expect(run('sse9')).toMatch(/'sse9'.*PARE_NF4_CPU/);
    expect(run('sse9')).toContain(`one of: ${paths.join(' ')}`);
  });
});

describe.each(paths.slice(1))('%s', (path) => {
  test('quantises to the same bytes', () => {
    const scale = fc.constantFrom(1, 1e-3, 1e-38, 1e30);
    check(
      fc.property(dtype, blockSize, count, seed, specials, scale, (type, size, n, from, at, by) =>
        scope(() => {
          const x = tensor(source(n, from, at, by), { dtype: type });
          const [want, have] = ['portable', path].map((name) =>
            on(name, () => {
              const { packed, quantState } = quantizeNf4(x, {
                blockSize: size,
                doubleQuant: false,
              });
              return [base64(packed), base64(quantState.absmax)];
            }),
          );
          expect(have).toEqual(want);
        }),
      ),
      300,
    );
  });

  test('rounds values at and beside every boundary to the same side', () => {
    scope(() => {
      const book = tensor(values(64, 1));
      const code = quantizeNf4(book).quantState.code.toArray();
      // A block for each neighbourhood: 31 neighbours of a boundary and the absmax, 1.
      const bits = new Int32Array(1);
      const float = new Float32Array(bits.buffer);
      const neighbours = Array.from({ length: 15 }, (_, i) => {
        float[0] = (code[i]! + code[i + 1]!) / 2;
        const middle = bits[0]!;
        return Array.from({ length: 32 }, (_, j) => {
          if (j === 31) return 1;
          bits[0] = middle + j - 15;
          return float[0]!;
        });
      }).flat();
      for (const factor of [1, -1, 0.3, 7]) {
        const x = tensor(Float32Array.from(neighbours, (v) => v * factor));
        const [want, have] = ['portable', path].map((name) =>
          on(name, () => base64(quantizeNf4(x, { blockSize: 32 }).packed)),
        );
        expect(have).toBe(want);
      }
    });
  });

  test('decodes to the same bits', () => {
    check(
      fc.property(
        ...[dtype, blockSize, count, seed, specials, fc.boolean()],
        (type, size, n, from, at, doubleQuant) =>
          scope(() => {
            const state = on('portable', () => {
              const x = tensor(values(n, from));
              return quantizeNf4(x, { blockSize: size, doubleQuant });
            });
            const { packed, quantState: q } = state;
            if (!doubleQuant) {
              const absmax = tensor(source(q.absmax.numel, from, at));
              state.quantState = new QuantState(absmax, q.code, q);
            }
            const [want, have] = ['portable', path].map((name) =>
              on(name, () => base64(dequantizeNf4(packed, state.quantState, type))),
            );
            expect(have).toBe(want);
          }),
      ),
      300,
    );
  });

  // Elsewhere tiles are multiplied by a library that chooses its way by the number of rows.
  if (path === 'avx512bf16') {
    test('gives a row of bfloat16 the same product and gradient whatever rows are beside it', () => {
      scope(() =>
        on(path, () => {
          const { packed, quantState } = quantizeNf4(
            tensor(values(96 * 256, 1)).reshape([96, 256]),
          );
          const x = tensor(values(64 * 256, 2), { dtype: 'bfloat16' }).reshape([64, 256]);
          const g = tensor(values(64 * 96, 3), { dtype: 'bfloat16' }).reshape([64, 96]);
          const both = (from: number, count: number): number[][] => {
            const leaf = x.narrow(0, from, count).detach().clone();
            leaf.requiresGrad = true;
            const y = matmul4bit(leaf, packed, quantState);
            backward(y, g.narrow(0, from, count).clone());
            return [y.detach().toArray(), leaf.grad!.toArray()];
          };
          const [y, toX] = both(0, 64);
          for (const [from, count] of [
            [0, 9],
            [30, 13],
            [51, 11],
          ] as const) {
            const end = from + count;
            expect(both(from, count)).toEqual([
              y!.slice(from * 96, end * 96),
              toX!.slice(from * 256, end * 256),
            ]);
          }
        }),
      );
    });
  }

  const width = fc.oneof(
    fc.integer({ min: 1, max: 700 }),
    fc.integer({ min: 1, max: 9 }).map((groups) => groups * 64),
    fc.constant(6400), // more than one chunk of x from 3 rows on
  );
  const product = fc.record({
    type: dtype,
    size: blockSize,
    batch: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 9, max: 24 })),
    outFeatures: fc.integer({ min: 1, max: 20 }),
    inFeatures: width,
    from: seed,
    doubleQuant: fc.boolean(),
    withBias: fc.boolean(),
    transposed: fc.boolean(),
  });

  test('multiplies and sends gradients back within the rounding of the sums', () => {
    check(
      fc.property(product, ({ type, size, batch, outFeatures, inFeatures, from, ...p }) =>
        scope(() => {
          const { packed, quantState } = on('portable', () =>
            quantizeNf4(tensor(values(outFeatures * inFeatures, from)).reshape([outFeatures, -1]), {
              blockSize: size,
              doubleQuant: p.doubleQuant,
            }),
          );
          const weight = on('portable', () => dequantizeNf4(packed, quantState)).toArray();
          const flat = tensor(values(batch * inFeatures, from + 1), { dtype: type });
          const x = p.transposed
            ? flat.reshape([inFeatures, batch]).transpose(0, 1)
            : flat.reshape([batch, inFeatures]);
          const leaf = x.detach();
          leaf.requiresGrad = true;
          const bias = p.withBias
            ? tensor(values(outFeatures, from + 2), { dtype: type })
            : undefined;
          const gradient = tensor(values(batch * outFeatures, from + 3), { dtype: type }).reshape([
            batch,
            outFeatures,
          ]);
          on(path, () => {
            const y = matmul4bit(leaf, packed, quantState, bias);
            backward(y, gradient);
            // Three rows and more are multiplied in bfloat16 where the processor does that.
            const rounding =
              path === 'avx512bf16' && type === 'bfloat16' ? roundings.bfloat16[0] : 0;
            const forward = error(
              y,
              x.toArray(),
              (k, n) => weight[n * inFeatures + k]!,
              bias?.toArray(),
              rounding,
            );
            const back = error(
              leaf.grad!,
              gradient.toArray(),
              (k, n) => weight[k * inFeatures + n]!,
              undefined,
              rounding,
            );
            expect(Math.max(forward, back)).toBeLessThan(1);
          });
        }),
      ),
      60,
    );
  });
});
