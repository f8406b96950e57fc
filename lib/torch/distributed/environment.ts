/** What torchrun, Slurm and Kubernetes tell a process of its part. */
import { DistributedError } from './error';

/** Which of the processes this is, and where rank 0 listens. */
export interface Place {
  rank: number;
  worldSize: number;
  /** Among the ranks of this machine. */
  localRank: number;
  masterAddr: string;
  masterPort: number;
  /** Who started the ranks serves the store there, not rank 0: torchrun's agent. */
  agentStore: boolean;
}

/** c10d's own default. */
const defaultPort = 29500;

/**
 * Reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as torchrun sets them, and its
 * TORCHELASTIC_USE_AGENT_STORE (True or False, as PyTorch's rendezvous.py reads it).
 * @returns undefined where neither RANK nor WORLD_SIZE is set: a process by itself
 * @throws DistributedError for one without the other, and for what is no number in its range
 */
export function placeFromEnvironment(env: NodeJS.ProcessEnv = process.env): Place | undefined {
  const { RANK, WORLD_SIZE, MASTER_ADDR = '127.0.0.1' } = env;
  if (RANK === undefined && WORLD_SIZE === undefined) return undefined;
  const worldSize = whole(env, 'WORLD_SIZE', 1, 1e6);
  const rank = whole(env, 'RANK', 0, worldSize - 1);
  const localRank = env.LOCAL_RANK === undefined ? 0 : whole(env, 'LOCAL_RANK', 0, 1e6);
  const masterPort =
    env.MASTER_PORT === undefined ? defaultPort : whole(env, 'MASTER_PORT', 1, 65535);
  const agentStore = env.TORCHELASTIC_USE_AGENT_STORE === 'True';
  return { rank, worldSize, localRank, masterAddr: MASTER_ADDR, masterPort, agentStore };
}

function whole(env: NodeJS.ProcessEnv, name: string, low: number, high: number): number {
  const text = env[name];
  if (text === undefined) {
    throw new DistributedError(`${name} is not set; RANK and WORLD_SIZE belong together`);
  }
  const value = Number(text);
  if (text.trim() !== '' && Number.isInteger(value) && value >= low && value <= high) return value;
  throw new DistributedError(
    `${name} is '${text}'; it must be a whole number from ${low} to ${high}`,
  );
}
