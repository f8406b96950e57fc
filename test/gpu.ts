/** For suites that need a GPU: `onGpu` is jest's test where there is one, and skips aloud elsewhere. */
import { quantizeNf4 } from '../lib/nf4';
import { cudaIsAvailable, ones, scope, type Tensor } from '../lib/torch';

export function gpu(value: Tensor): Tensor {
  return value.to(value.dtype, 'cuda');
}

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

const reason = obstacle();
if (reason !== undefined) {
  // `npm run test:cuda` has seen a GPU: what stands in the way then is an error.
  if (process.env.PARE_REQUIRE_CUDA === '1')
    throw new Error(`the CUDA tests cannot run: ${reason}`);
  console.warn(`skipped: ${reason}`);
}

export const onGpu: jest.It = reason === undefined ? test : test.skip;
