/** On a machine with a GPU: its kernels against the CPU's, which are tested against bitsandbytes. */
import {
  dequantizeNf4,
  embedding4bit,
  matmul4bit,
  quantizeNf4,
  type BlockSize,
} from '../../lib/nf4';
import { backward, functional as F, scope, tensor } from '../../lib/torch';
import { gpu, onGpu } from '../gpu';
import { base64, float32, relativeError, sha256, valuesTensor, vectors } from './vectors';

const dtypes = ['float32', 'bfloat16', 'float16'] as const;
const blockSizes: BlockSize[] = [32, 64, 128, 256, 512, 1024, 2048, 4096];

describe.each(dtypes)('%s', (dtype) => {
  onGpu.each(blockSizes)('the same bytes in blocks of %d', (blockSize) => {
    scope(() => {
      for (const shape of [[2 * blockSize + 37], [130, 258], [64, 96]]) {
        const source = valuesTensor(shape, dtype, blockSize, blockSize);
        const own = quantizeNf4(source, { blockSize });
        const device = quantizeNf4(gpu(source), { blockSize });
        expect(sha256(device.packed.to('uint8', 'cpu'))).toBe(sha256(own.packed));
        const states = [own.quantState, device.quantState];
        const [onCpu, there] = states.map((state) =>
          Array.from(state.namedTensors(), ([name, value]) => [
            name,
            sha256(value.to(value.dtype, 'cpu')),
          ]),
        );
        expect(there).toEqual(onCpu);
        for (const to of dtypes) {
          const restored = dequantizeNf4(device.packed, device.quantState, to).to(to, 'cpu');
          expect(sha256(restored)).toBe(sha256(dequantizeNf4(own.packed, own.quantState, to)));
        }
      }
    });
  });

  onGpu.each(vectors.special.filter((v) => v.dtype === dtype).map((v) => [v.title, v] as const))(
    '%s',
    (_, v) => {
      scope(() => {
        const source = gpu(tensor(float32(v.values), { dtype: v.dtype }));
        const { packed, quantState } = quantizeNf4(source, { doubleQuant: false });
        expect(base64(packed.to('uint8', 'cpu'))).toBe(v.packed);
        expect(base64(quantState.absmax.to('float32', 'cpu'))).toBe(v.absmax);
      });
    },
  );

  const tolerance = { float32: 1e-4, float16: 4e-3, bfloat16: 3e-2 }[dtype];

  onGpu.each([
    [5, 7], // decoded value by value
    [129, 96], // rows that do not fill a warp's read
    [128, 4096],
    [264, 1088], // edges of every tile on tensor cores
    [5000, 4104], // more than one tile of the library's product, nothing straight from the packed weight
    [4096, 4096],
  ])('the product and its gradient, weight [%d, %d]', (outFeatures, inFeatures) => {
    scope(() => {
      const { packed, quantState } = quantizeNf4(
        gpu(valuesTensor([outFeatures, inFeatures], dtype, 1)),
      );
      const dense = dequantizeNf4(packed, quantState, 'float32');
      const bias = gpu(valuesTensor([outFeatures], dtype, 2));
      for (const batch of [1, 2, 3, 4, 7, 8, 9, 16, 17, 33, 64, 65, 130, 256, 257]) {
        const x = gpu(valuesTensor([batch, inFeatures], dtype, 3));
        x.requiresGrad = true;
        const y = matmul4bit(x, packed, quantState, bias);
        const expected = F.linear(x.detach().to('float32'), dense, bias.to('float32'));
        expect(relativeError(y.to('float32', 'cpu'), expected.toArray())).toBeLessThan(tolerance);
        const gradient = gpu(valuesTensor([batch, outFeatures], dtype, 4));
        backward(y, gradient);
        const dx = gradient.to('float32').matmul(dense);
        expect(relativeError(x.grad!.to('float32', 'cpu'), dx.toArray())).toBeLessThan(tolerance);
      }
    });
  });

  onGpu.each(blockSizes)('products and gradients with blocks of %d', (blockSize) => {
    scope(() => {
      for (const doubleQuant of [false, true]) {
        const { packed, quantState } = quantizeNf4(gpu(valuesTensor([72, 192], dtype, 6)), {
          blockSize,
          doubleQuant,
        });
        const dense = dequantizeNf4(packed, quantState, 'float32');
        for (const batch of [1, 8, 24]) {
          const x = gpu(valuesTensor([batch, 192], dtype, 7));
          x.requiresGrad = true;
          const y = matmul4bit(x, packed, quantState);
          const expected = F.linear(x.detach().to('float32'), dense);
          expect(relativeError(y.to('float32', 'cpu'), expected.toArray())).toBeLessThan(tolerance);
          const gradient = gpu(valuesTensor([batch, 72], dtype, 8));
          backward(y, gradient);
          const dx = gradient.to('float32').matmul(dense);
          expect(relativeError(x.grad!.to('float32', 'cpu'), dx.toArray())).toBeLessThan(tolerance);
        }
      }
    });
  });

  onGpu('rows of an embedding: the same bytes', () => {
    scope(() => {
      const { packed, quantState } = quantizeNf4(valuesTensor([150, 128], dtype, 9));
      const ids = tensor([149, 0, 3, 3, 77], { dtype: 'int64' });
      const there = quantizeNf4(gpu(valuesTensor([150, 128], dtype, 9)));
      const rows = embedding4bit(gpu(ids), there.packed, there.quantState, dtype);
      const own = dequantizeNf4(packed, quantState, dtype).indexSelect(0, ids);
      expect(sha256(rows.to(dtype, 'cpu'))).toBe(sha256(own));
    });
  });
});
