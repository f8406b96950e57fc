/** The process group of a program that needs one only, in torch.distributed's words. */
import { cudaIsAvailable } from '../cuda';
import type { Tensor } from '../tensor';
import { placeFromEnvironment } from './environment';
import { DistributedError } from './error';
import { availableBackends, ProcessGroup, type Backend, type ReduceOp } from './process-group';
import { rendezvous, type RendezvousOptions } from './rendezvous';
import type { TcpStore } from './store';

/** Seconds that a process waits for another, unless told otherwise. */
export const defaultTimeoutSeconds = 600;

/** Which process this is, where rank 0 listens, and by what tensors travel. */
export interface ProcessGroupOptions extends Omit<
  RendezvousOptions,
  'timeoutSeconds' | 'masterAddr' | 'masterPort'
> {
  /** Gloo; where there are a GPU and a build with NCCL, NCCL for CUDA tensors beside it. */
  backend?: Backend;
  /** See {@link GroupOptions}. */
  localRank?: number;
  /** 127.0.0.1 unless given. */
  masterAddr?: string;
  /** 29500 unless given. */
  masterPort?: number;
  /** Of connecting and of each collective; 600 unless given. */
  timeoutSeconds?: number;
}

let current: { group: ProcessGroup; store: TcpStore } | undefined;

/** Gloo for CPU tensors; NCCL for CUDA's where there is a GPU and a build that has it. */
export function defaultBackend(): Backend {
  const hasNccl = cudaIsAvailable() && availableBackends().includes('nccl');
  return hasNccl ? 'cpu:gloo,cuda:nccl' : 'gloo';
}

/**
 * Connects this process with the others of its world; the collectives below are theirs.
 * @throws DistributedError in bounded time: an address that does not answer, a rank that is missing
 * or there twice, different world sizes
 */
export async function initProcessGroup(options: ProcessGroupOptions): Promise<ProcessGroup> {
  if (current !== undefined) {
    throw new DistributedError('a process group is open already; call destroyProcessGroup first');
  }
  const { backend = defaultBackend(), timeoutSeconds = defaultTimeoutSeconds } = options;
  const { rank, worldSize, masterAddr = '127.0.0.1', masterPort = 29500, agentStore } = options;
  const place = { rank, worldSize, masterAddr, masterPort, timeoutSeconds, agentStore };
  const { store } = await rendezvous(place);
  try {
    const group = await ProcessGroup.open(store, {
      ...{ backend, rank, worldSize, localRank: options.localRank, timeoutSeconds },
      prefix: 'default',
    });
    current = { group, store };
    return group;
  } catch (error) {
    store.close();
    throw error;
  }
}

/** {@link initProcessGroup} with what torchrun's variables say. */
export async function initProcessGroupFromEnvironment(
  options: Pick<ProcessGroupOptions, 'backend' | 'timeoutSeconds'> = {},
): Promise<ProcessGroup> {
  const place = placeFromEnvironment();
  if (place === undefined) {
    throw new DistributedError('RANK and WORLD_SIZE are not set; start the processes by torchrun');
  }
  return initProcessGroup({ ...place, ...options });
}

function group(): ProcessGroup {
  if (current !== undefined) return current.group;
  throw new DistributedError('there is no process group; call initProcessGroup first');
}

/** See {@link ProcessGroup.allReduce}. */
export function allReduce(tensor: Tensor, op: ReduceOp = 'sum'): Promise<void> {
  return group().allReduce(tensor, op);
}

/** See {@link ProcessGroup.broadcast}. */
export function broadcast(tensor: Tensor, source: number = 0): Promise<void> {
  return group().broadcast(tensor, source);
}

/** See {@link ProcessGroup.allGather}. */
export function allGather(tensor: Tensor): Promise<Tensor[]> {
  return group().allGather(tensor);
}

/** See {@link ProcessGroup.barrier}. */
export function barrier(): Promise<void> {
  return group().barrier();
}

/** Ends the connections of this process. */
export function destroyProcessGroup(): void {
  current?.group.close();
  current?.store.close();
  current = undefined;
}
