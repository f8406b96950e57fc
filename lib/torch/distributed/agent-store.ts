/**
 * Ranks that meet in a store which torchrun's agent keeps. It goes on from one start of the ranks to
 * the next, with the keys of all of them, so each start needs keys of its own. The number of starts
 * (TORCHELASTIC_RESTART_COUNT) cannot name them: each agent counts by itself, and failures of its own
 * ranks only. So rank 0 makes up a name and tells it to whoever says hello.
 */
import { randomUUID } from 'node:crypto';
import { DistributedError } from './error';
import type { TcpStore } from './store';

const helloKey = (rank: number): string => `pare/hello/${rank}`;
const welcomeKey = (token: string): string => `pare/welcome/${token}`;

/** Rank 0's part: says hello back, and notices ranks that were started again. */
export class Welcome {
  /** Of this start alone. */
  readonly store: TcpStore;
  readonly #prefix: string = `pare/${randomUUID()}`;
  readonly #ranks: readonly number[];
  /** What each rank said hello with. */
  readonly #tokens = new Map<number, string>();

  constructor(
    readonly agentStore: TcpStore,
    worldSize: number,
  ) {
    this.store = agentStore.within(this.#prefix);
    this.#ranks = Array.from({ length: worldSize }, (_, rank) => rank).slice(1);
  }

  /** Answers ranks that have come since; one of an earlier start does not hear it any more. */
  async answer(): Promise<void> {
    for (const [rank, token] of await this.#newcomers()) {
      await this.agentStore.set(welcomeKey(token), this.#prefix);
      this.#tokens.set(rank, token);
    }
  }

  /** @throws DistributedError if an agent has started its ranks again, which wait for a new rank 0 */
  async checkNewcomers(): Promise<void> {
    const [newcomer] = await this.#newcomers();
    if (newcomer === undefined) return;
    throw new DistributedError(`rank ${newcomer[0]} was started again; so must all others be`);
  }

  async #newcomers(): Promise<[number, string][]> {
    const tokens = await this.agentStore.get(this.#ranks.map(helloKey));
    return this.#ranks.flatMap((rank, i) => {
      const token = tokens[i];
      return token === undefined || token === this.#tokens.get(rank) ? [] : [[rank, token]];
    });
  }
}

/**
 * The part of the other ranks: the store of this start.
 * @throws DistributedError if rank 0 does not answer in time
 */
export async function sayHello(
  agentStore: TcpStore,
  options: { rank: number; timeoutSeconds: number; signal?: AbortSignal },
): Promise<TcpStore> {
  const { rank, timeoutSeconds, signal } = options;
  const token = randomUUID();
  const deadline = performance.now() + 1000 * timeoutSeconds;
  await agentStore.set(helloKey(rank), token);
  const prefix = await agentStore.waitFor(welcomeKey(token), () => {
    signal?.throwIfAborted();
    if (performance.now() < deadline) return;
    throw new DistributedError(`rank 0 did not come within ${timeoutSeconds} s`);
  });
  return agentStore.within(prefix);
}
