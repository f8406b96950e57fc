/** On a machine with a GPU: its kernels against the CPU's, which are tested against bitsandbytes. */
import { dequantizeNf4, matmul4bit, quantizeNf4, type BlockSize } from '../../lib/nf4';
import {
  backward,
  cudaIsAvailable,
  functional as F,
  ones,
  scope,
  tensor,
  type Tensor,
} from '../../lib/torch';
import { base64, float32, relativeError, sha256, valuesTensor, vectors } from './vectors';

/** Why the tests cannot run here; undefined where they can. */
function obstacle(): string | undefined {
  if (!cudaIsAvailable()) return 'needs an NVIDIA GPU and a CUDA build of libtorch';
  try {
    scope(() => void quantizeNf4(gpu(ones([64]))));
    return undefined;
  } catch (error) {
    // A CUDA build of libtorch without nvcc; any other failure is the tests' to report.
    return /no kernels/.test(String(error)) ? 'the addon was built without nvcc' : undefined;
  }
}

function gpu(value: Tensor): Tensor {
  return value.to(value.dtype, 'cuda');
}

const reason = obstacle();
if (reason !== undefined) console.warn(`skipped: ${reason}`);
const onGpu = reason === undefined ? test : test.skip;

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
    [5000, 4104], // more than one tile, no direct product
  ])('the product and its gradient, weight [%d, %d]', (outFeatures, inFeatures) => {
    scope(() => {
      const { packed, quantState } = quantizeNf4(
        gpu(valuesTensor([outFeatures, inFeatures], dtype, 1)),
      );
      const dense = dequantizeNf4(packed, quantState, 'float32');
      const bias = gpu(valuesTensor([outFeatures], dtype, 2));
      for (const batch of [1, 2, 3, 4, 7, 8, 9, 40]) {
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
});
