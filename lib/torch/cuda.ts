/** What is the GPU's alone. In a build without it every function but `cudaIsAvailable` throws. */
import { binding, ok, TorchError, type Binding } from './binding';
import { cudaIndex } from './device';
import { buildCommand } from './load-addon';

/** Whether a GPU and a CUDA build of libtorch are there. */
export function cudaIsAvailable(): boolean {
  return binding.cudaIsAvailable();
}

type CudaFunction = Extract<keyof Binding, `cuda${string}`>;

function need<Name extends CudaFunction>(name: Name): NonNullable<Binding[Name]> {
  if (!cudaIsAvailable()) {
    throw new TorchError(`${name}: needs an NVIDIA GPU and a CUDA build of libtorch`);
  }
  const found = binding[name];
  if (found !== undefined) return found;
  throw new TorchError(
    `${name}: the addon was built without nvcc; install it and run ${buildCommand()}`,
  );
}

/** Waits until all work queued on the current GPU is done. */
export function cudaSynchronize(): void {
  ok(need('cudaSynchronize')());
}

/** As "NVIDIA H100 80GB HBM3". */
export function cudaDeviceName(): string {
  return ok(need('cudaDeviceName')());
}

/** The number of GPUs; 0 in a build without CUDA. */
export function cudaDeviceCount(): number {
  return binding.cudaDeviceCount();
}

/** Makes a GPU the current one of this thread, which `cuda` means. */
export function cudaSetDevice(index: number): void {
  ok(need('cudaSetDevice')(index));
}

/**
 * Bytes of a GPU's memory that no other program has taken.
 * @param device `cuda`, the current one, or `cuda:1`
 */
export function cudaFreeMemory(device: string = 'cuda'): number {
  return ok(need('cudaFreeMemory')(cudaIndex(device) ?? -1));
}

/**
 * Work on the GPU, captured once and repeated as it was: the same kernels on the same memory, without
 * the time it takes to queue them one by one. What goes in is written into tensors made before
 * (`copy_`), what comes out is read from those that `body` returned.
 */
export class CudaGraph<Result = unknown> {
  #id: number | undefined;

  private constructor(
    id: number,
    /** What `body` returned; its tensors hold the results of the last replay. */
    readonly result: Result,
  ) {
    this.#id = id;
  }

  /**
   * Captures what `body` queues; nothing of it is done yet. Run it once before, outside of any
   * capture, so that libraries have made what they keep. It must not read a value back (`item`,
   * `toArray`), and must keep what it returns (`keep`).
   * @throws TorchError where something in `body` cannot be captured
   */
  static capture<Result>(body: () => Result): CudaGraph<Result> {
    const id = ok(need('cudaGraphBegin')());
    let result: Result;
    try {
      result = body();
    } catch (error) {
      // Ends the capture, which is lost; the first error is the one to tell.
      if (need('cudaGraphEnd')(id) === undefined) binding.takeError();
      ok(need('cudaGraphRelease')(id));
      throw error;
    }
    ok(need('cudaGraphEnd')(id));
    return new CudaGraph(id, result);
  }

  /** Queues all of it again, on the current stream. */
  replay(): void {
    if (this.#id === undefined) throw new TorchError('replay: the graph was disposed');
    ok(need('cudaGraphReplay')(this.#id));
  }

  /** Frees the graph and its memory, that of its results included. */
  dispose(): void {
    if (this.#id !== undefined) ok(need('cudaGraphRelease')(this.#id));
    this.#id = undefined;
  }
}
