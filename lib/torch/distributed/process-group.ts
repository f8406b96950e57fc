/** Collectives between processes, over libtorch's c10d. */
import { binding, ok } from '../binding';
import { Tensor } from '../tensor';
import { fromBytes, zeros } from '../create';
import { called } from './call';
import { DistributedError, distributedError } from './error';
import type { TcpStore } from './store';

/** What c10d can carry tensors by; see `availableBackends` for this build. */
export const backends = ['gloo', 'nccl', 'cpu:gloo,cuda:nccl'] as const;
/** Gloo is for CPU tensors, NCCL for CUDA's, in builds that have it; or both, by tensor. */
export type Backend = (typeof backends)[number];

/** The backends that this build has. */
export function availableBackends(): ('gloo' | 'nccl')[] {
  return binding.distributedBackends() as ('gloo' | 'nccl')[];
}

/** How the tensors of all ranks become one, elementwise. */
export type ReduceOp = 'sum' | 'product' | 'min' | 'max';

/** Which ranks form a group, and how they find each other in a store. */
export interface GroupOptions {
  backend?: Backend;
  rank: number;
  worldSize: number;
  /** With NCCL: `cuda` is the GPU of this number from here on, of those that are visible; 0 if left out. */
  localRank?: number;
  /** Keys of the store that are this group's own. */
  prefix: string;
  timeoutSeconds: number;
}

/**
 * Some processes that exchange tensors. All of them call the same collectives in the same order;
 * each resolves when this process' part is done, and the tensors must not be used before.
 */
export class ProcessGroup {
  #closed = false;

  private constructor(
    /** @internal */
    readonly id: number,
    readonly options: GroupOptions,
  ) {}

  /** @throws DistributedError if a rank does not appear in time */
  static async open(store: TcpStore, options: GroupOptions): Promise<ProcessGroup> {
    const { backend = 'gloo', rank, worldSize, localRank = 0, prefix, timeoutSeconds } = options;
    const { host, port } = store.options;
    const milliseconds = Math.ceil(1000 * timeoutSeconds);
    const id = await called<number>('connecting the ranks', timeoutSeconds + 2, (callback) =>
      binding.groupOpen(
        ...([store.id, `${prefix}/`, backend, rank, worldSize] as const),
        ...([localRank, milliseconds, host, port, callback] as const),
      ),
    );
    return new ProcessGroup(id, options);
  }

  /** The number of this process, from 0. */
  get rank(): number {
    return this.options.rank;
  }
  /** The number of processes. */
  get size(): number {
    return this.options.worldSize;
  }

  /** Makes `tensor` on every rank the elementwise sum (or product, …) of all of them, in place. */
  allReduce(tensor: Tensor, op: ReduceOp = 'sum'): Promise<void> {
    return this.#wait('all-reduce', () => binding.groupAllReduce(this.id, tensor.id, op));
  }

  /** Makes `tensor` on every rank that of rank `source`, in place. */
  broadcast(tensor: Tensor, source: number = 0): Promise<void> {
    return this.#wait('broadcast', () => binding.groupBroadcast(this.id, tensor.id, source));
  }

  /** The tensors of all ranks, by rank; all have the shape and dtype of this rank's. */
  async allGather(tensor: Tensor): Promise<Tensor[]> {
    const { shape, dtype } = tensor;
    const made = (): Tensor => zeros(shape, { dtype, device: tensor.device });
    const outputs = Array.from({ length: this.size }, made);
    const ids = outputs.map(({ id }) => id);
    try {
      await this.#wait('all-gather', () => binding.groupAllGather(this.id, ids, tensor.id));
    } catch (error) {
      for (const output of outputs) output.dispose();
      throw error;
    }
    return outputs;
  }

  /** What each rank gives, by rank: anything that JSON can hold. */
  async allGatherObject<T>(value: T): Promise<T[]> {
    const bytes = Buffer.from(JSON.stringify(value));
    const own = fromBytes(new BigInt64Array([BigInt(bytes.length)]), 'int64', [1]);
    const sizes = await this.allGather(own);
    const lengths = sizes.map((size) => size.item());
    const padded = Buffer.alloc(Math.max(...lengths));
    padded.set(bytes);
    const packed = fromBytes(padded, 'uint8', [padded.length]);
    const parts = await this.allGather(packed);
    const texts = parts.map((part, i) =>
      Buffer.from(part.toBytes()).toString('utf8', 0, lengths[i]),
    );
    for (const tensor of [own, packed, ...sizes, ...parts]) tensor.dispose();
    return texts.map((text) => JSON.parse(text) as T);
  }

  /** Resolves when every rank has called it. */
  barrier(): Promise<void> {
    return this.#wait('barrier', () => binding.groupBarrier(this.id));
  }

  /** Ends the connections; collectives that are under way fail. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    ok(binding.groupClose(this.id));
  }

  /** @internal `what`, for errors. */
  describe(what: string): string {
    return `${what} of rank ${this.rank} of ${this.size}`;
  }

  async #wait(what: string, start: () => number | undefined): Promise<void> {
    if (this.#closed) throw new DistributedError(`${what}: the process group was closed`);
    const name = this.describe(what);
    const work = start();
    if (work === undefined) throw distributedError(name, binding.takeError());
    // Gloo has the same limit, and says more when it is reached.
    await called<true>(name, this.options.timeoutSeconds + 2, (callback) =>
      binding.workWait(work, callback),
    );
  }
}

/** Makes tensors the same on all ranks: those of rank 0, one after the other. */
export async function broadcastAll(group: ProcessGroup, tensors: Iterable<Tensor>): Promise<void> {
  for (const tensor of tensors) {
    const data = tensor.detach();
    try {
      await group.broadcast(data);
    } finally {
      data.dispose();
    }
  }
}
