import { dtypeSize } from '../dtype';
import type { Tensor } from '../tensor';
import { binding, ok } from '../binding';
import { called } from './call';
import type { ProcessGroup } from './process-group';

/** Bytes of a bucket, and of the first, which is to be on its way early (as PyTorch's DDP). */
const bucketBytes = 25 * 2 ** 20;
const firstBucketBytes = 2 ** 20;

/**
 * Sums gradients over the ranks of a group. Parameters are taken in buckets, the last ones first,
 * since backward reaches these first; each bucket is sent as soon as its gradients are there, while
 * backward goes on. A parameter that a rank has not used counts as zero there; one that none has
 * used keeps no gradient.
 */
export class GradientReducer {
  readonly #id: number;
  /** Of each bucket, in the order of their sending. */
  readonly bucketSizes: readonly number[];
  /** Buckets that the last step sent while backward was running. */
  overlapped: number = 0;

  /** @param parameters leaves, in the order in which the model uses them; the same on all ranks */
  constructor(
    readonly group: ProcessGroup,
    parameters: readonly Tensor[],
    options: { bucketBytes?: number; firstBucketBytes?: number } = {},
  ) {
    const reversed = [...parameters].reverse();
    const { buckets, sizes } = intoBuckets(
      reversed,
      options.firstBucketBytes ?? firstBucketBytes,
      options.bucketBytes ?? bucketBytes,
    );
    this.bucketSizes = sizes;
    const ids = reversed.map(({ id }) => id);
    this.#id = ok(binding.reducerOpen(group.id, ids, buckets));
  }

  /** Before the last backward pass of a step: what is ready in it may be sent. */
  arm(): void {
    ok(binding.reducerArm(this.#id));
  }

  /**
   * After the last backward pass: resolves when every gradient is the sum over the ranks.
   * @throws DistributedError when a rank is gone or does not answer in time
   */
  async finish(): Promise<void> {
    const { group } = this;
    // Each collective has a limit of its own below; this one is for all of them.
    const seconds = group.options.timeoutSeconds * 2 + 2;
    const what = group.describe('summing gradients');
    this.overlapped = await called<number>(what, seconds, (callback) =>
      binding.reducerFinish(this.#id, callback),
    );
  }

  /** Takes the hooks off the parameters, which live on. */
  close(): void {
    ok(binding.reducerClose(this.#id));
  }
}

/** For each parameter the number of its bucket; a bucket has one dtype and one device. */
export function intoBuckets(
  parameters: readonly Tensor[],
  firstLimit: number,
  limit: number,
): { buckets: number[]; sizes: number[] } {
  const sizes: number[] = [];
  let kind = '';
  const buckets = parameters.map((parameter) => {
    const bytes = parameter.numel * dtypeSize[parameter.dtype];
    const own = `${parameter.dtype} ${parameter.device}`;
    const last = sizes.length - 1;
    const full = last >= 0 && sizes[last]! + bytes > (last === 0 ? firstLimit : limit);
    if (last < 0 || full || own !== kind) sizes.push(0);
    kind = own;
    sizes[sizes.length - 1]! += bytes;
    return sizes.length - 1;
  });
  return { buckets, sizes };
}
