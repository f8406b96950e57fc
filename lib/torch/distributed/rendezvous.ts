import { setTimeout } from 'node:timers/promises';
import { sayHello, Welcome } from './agent-store';
import { DistributedError } from './error';
import { TcpStore } from './store';

/** Where and for how long a rank waits for the others. */
export interface RendezvousOptions {
  rank: number;
  worldSize: number;
  /** Address of the machine of rank 0; it listens on this address alone. */
  masterAddr: string;
  masterPort: number;
  /** How long to wait for the others; they need not start at the same time. */
  timeoutSeconds: number;
  /** The store is there already, on that port: torchrun's agent serves it. */
  agentStore?: boolean;
  /** Ends the waiting. */
  signal?: AbortSignal;
}

/** Ranks that have met. */
export interface Meeting {
  /** By which they talk. */
  store: TcpStore;
  /** @throws DistributedError if a rank was started again; rank 0 alone can know */
  checkNewcomers: () => Promise<void>;
}

/**
 * Opens the store on rank 0, unless it is torchrun's agent's, and waits there for all ranks.
 * @throws DistributedError naming ranks that do not come, a rank that is there twice, and processes
 * that were told different world sizes; all ranks hear of it
 */
export async function rendezvous(options: RendezvousOptions): Promise<Meeting> {
  const { rank, worldSize, masterAddr, masterPort, timeoutSeconds, agentStore = false } = options;
  if (!Number.isInteger(rank) || rank < 0 || rank >= worldSize) {
    throw new DistributedError(
      `rank ${rank} does not exist among ${worldSize}; ranks are 0 to ${worldSize - 1}`,
    );
  }
  const opened = await TcpStore.open({
    ...{ host: masterAddr, port: masterPort, isServer: rank === 0 && !agentStore, timeoutSeconds },
    keeper: agentStore ? "torchrun's agent" : undefined,
  });
  const welcome = agentStore && rank === 0 ? new Welcome(opened, worldSize) : undefined;
  let store = welcome?.store ?? opened;
  try {
    if (agentStore && rank > 0) store = await sayHello(opened, options);
    await meet(store, options, () => welcome?.answer());
    return { store, checkNewcomers: async () => welcome?.checkNewcomers() };
  } catch (error) {
    store.close();
    throw error;
  }
}

const key = (name: string | number): string => `rendezvous/${name}`;

/** @param answer is called again and again while ranks are missing */
async function meet(
  store: TcpStore,
  options: RendezvousOptions,
  answer: () => Promise<void> | undefined,
): Promise<void> {
  const { rank, worldSize, timeoutSeconds } = options;
  const deadline = performance.now() + 1000 * timeoutSeconds;
  const fail = async (message: string): Promise<never> => {
    await store.set(key('failure'), message);
    await store.add(key('heard'), 1);
    // Rank 0 takes the store along: the others must have heard before.
    if (rank === 0) await agree(store, 'heard', 'came', performance.now() + 5000);
    throw new DistributedError(message);
  };
  await store.add(key('came'), 1);
  const size = await store.compareSet(key('size'), undefined, String(worldSize));
  if (Number(size) !== worldSize) {
    await fail(
      `rank ${rank} was told a world size of ${worldSize}, another process one of ${size}; give ` +
        'all the same WORLD_SIZE',
    );
  }
  if ((await store.add(key(rank), 1)) > 1) {
    await fail(`two processes have rank ${rank}; give each its own RANK`);
  }
  const keys = Array.from({ length: worldSize }, (_, i) => key(i));
  for (;;) {
    options.signal?.throwIfAborted();
    await answer();
    const [failure, ...there] = await store.get([key('failure'), ...keys]);
    if (failure !== undefined) await fail(failure);
    const missing = [...there.keys()].filter((i) => there[i] === undefined);
    if (missing.length === 0) break;
    if (performance.now() > deadline) {
      const names = `rank${missing.length > 1 ? 's' : ''} ${missing.join(', ')}`;
      await fail(`${names} of ${worldSize} did not come within ${timeoutSeconds} s`);
    }
    await setTimeout(20);
  }
  await store.add(key('met'), 1);
  if (rank === 0) await agree(store, 'met', 'came', performance.now() + 5000);
}

/** Waits until one number of the store has reached another. */
async function agree(store: TcpStore, what: string, goal: string, until: number): Promise<void> {
  while (performance.now() < until) {
    const [reached = 0, wanted] = await store.get([key(what), key(goal)]);
    if (Number(reached) >= Number(wanted)) return;
    await setTimeout(20);
  }
}
