import { setTimeout } from 'node:timers/promises';
import {
  defaultBackend,
  defaultTimeoutSeconds,
  DistributedError,
  placeFromEnvironment,
  ProcessGroup,
  rendezvous,
  type Meeting,
  type Place,
  type TcpStore,
} from '../torch/distributed';

/** Which of the processes this is, and after how many seconds others count as missing. */
export interface JoinOptions extends Omit<Place, 'agentStore'>, Partial<Pick<Place, 'agentStore'>> {
  /** How long to wait for the others at the start, and in each collective; 600 unless given. */
  timeoutSeconds?: number;
  /** A rank that gives no sign of life for so long is gone; 10 unless given. */
  heartbeatSeconds?: number;
  /** Ends the waiting for the others at the start. */
  signal?: AbortSignal;
}

/** Signs of life in the time after which a rank counts as gone. */
const beats = 10;
const pollMilliseconds = 50;

/**
 * This process among those that run the same program. Rank 0 leads: it writes, and holds the store
 * by which all talk. Another rank may go; its share of the work goes to the others. All ranks must
 * call the methods in the same order.
 */
export class Ranks {
  /** By rank: the last count of its signs of life, and when that was new. */
  readonly #seen = new Map<number, { count: string; since: number }>();
  readonly #gone = new Set<number>();
  #said = 0;
  #heard = 0;
  #groups = 0;
  #works = 0;

  /** @internal */
  readonly store: TcpStore;

  private constructor(
    private readonly meeting: Meeting,
    readonly options: JoinOptions &
      Required<Pick<JoinOptions, 'timeoutSeconds' | 'heartbeatSeconds'>>,
  ) {
    this.store = meeting.store;
  }

  /** @throws DistributedError as {@link rendezvous} */
  static async join(options: JoinOptions): Promise<Ranks> {
    const { rank } = options;
    const { timeoutSeconds = defaultTimeoutSeconds, heartbeatSeconds = 10 } = options;
    const meeting = await rendezvous({ ...options, timeoutSeconds });
    const { store } = meeting;
    // A thread in the process that keeps it answers at once, whatever the program does there.
    store.callSeconds = Math.min(timeoutSeconds, 2 * heartbeatSeconds);
    store.beat(`beat/${rank}`, heartbeatSeconds / beats);
    return new Ranks(meeting, { ...options, timeoutSeconds, heartbeatSeconds });
  }

  /** Joins as torchrun's variables say; undefined for a process by itself. */
  static async fromEnvironment(
    options: Pick<JoinOptions, 'timeoutSeconds' | 'heartbeatSeconds' | 'signal'> = {},
  ): Promise<Ranks | undefined> {
    const place = placeFromEnvironment();
    return place === undefined ? undefined : Ranks.join({ ...place, ...options });
  }

  /** The number of this process, from 0. */
  get rank(): number {
    return this.options.rank;
  }
  /** The number of processes at the start; some may be gone. */
  get size(): number {
    return this.options.worldSize;
  }
  /** Its number among those of this machine. */
  get localRank(): number {
    return this.options.localRank ?? 0;
  }
  /** Whether this is the process that writes. */
  get leads(): boolean {
    return this.rank === 0;
  }

  /** Tells the other ranks something that JSON can hold; the leader only. */
  async tell(value: unknown): Promise<void> {
    await this.store.set(`said/${this.#said++}`, JSON.stringify(value));
  }

  /** The next thing that the leader tells; the others only. */
  async hear<T>(): Promise<T> {
    const text = await this.store.waitFor(`said/${this.#heard++}`, () => this.check());
    return JSON.parse(text) as T;
  }

  /** Has the leader do something before the others go on; they get what it returns. */
  async leaderDoes<T>(action: () => T | Promise<T>): Promise<T> {
    if (!this.leads) return (await this.hear<{ value: T }>()).value;
    const value = await action();
    await this.tell({ value });
    return value;
  }

  /** A process group of the ranks that live; undefined if this is the only one. */
  async processGroup(): Promise<ProcessGroup | undefined> {
    const prefix = `group-${this.#groups++}`;
    if (this.leads) await this.check();
    const living = await this.leaderDoes(() =>
      Array.from({ length: this.size }, (_, rank) => rank).filter((rank) => !this.#gone.has(rank)),
    );
    const rank = living.indexOf(this.rank);
    if (rank < 0) throw this.#givenUp(this.rank);
    if (living.length === 1) return undefined;
    const { timeoutSeconds, localRank } = this.options;
    const worldSize = living.length;
    const backend = defaultBackend();
    return ProcessGroup.open(this.store, {
      ...{ backend, rank, worldSize, localRank, prefix, timeoutSeconds },
    });
  }

  /**
   * Looks whether the others still are there.
   * @returns the ranks that are gone
   * @throws DistributedError if this rank was given up, the leader has failed or is gone, or a rank
   * was started again
   */
  async check(): Promise<ReadonlySet<number>> {
    if (this.leads) await this.meeting.checkNewcomers();
    await this.#watch();
    const ranks = Array.from({ length: this.size }, (_, rank) => rank);
    const [failure, ...gone] = await this.store.get(['failure', ...ranks.map((r) => `gone/${r}`)]);
    if (failure !== undefined && !this.leads) {
      throw new DistributedError(`rank 0 has failed: ${failure}`);
    }
    for (const rank of ranks) if (gone[rank] !== undefined) this.#gone.add(rank);
    for (const rank of [this.rank, 0]) if (this.#gone.has(rank)) throw this.#givenUp(rank);
    return this.#gone;
  }

  /** @internal A prefix for the keys of the next work that is shared. */
  nextWork(): string {
    return `work/${this.#works++}`;
  }

  /** Waits a moment before asking again. */
  async pause(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    await setTimeout(pollMilliseconds);
  }

  /** Tells the others why the leader ends; they end with the same reason. */
  async fail(error: unknown): Promise<void> {
    if (!this.leads || this.size === 1) return;
    const message = error instanceof Error ? error.message : String(error);
    try {
      await this.store.set('failure', message || 'unknown');
      // The store ends with this process.
      await setTimeout(10 * pollMilliseconds);
    } catch {
      // The first error is the one to tell.
    }
  }

  /** Ends this process' part; the leader waits a while until all others have ended theirs. */
  async close(): Promise<void> {
    try {
      await this.store.set(`closed/${this.rank}`, '1');
      const others = Array.from({ length: this.size }, (_, rank) => rank).filter((r) => r > 0);
      while (this.leads) {
        const gone = await this.check();
        const closed = await this.store.get(others.map((rank) => `closed/${rank}`));
        if (others.every((rank, i) => gone.has(rank) || closed[i] !== undefined)) break;
        await this.pause();
      }
    } finally {
      this.store.close();
    }
  }

  /** Finds ranks without a sign of life. The others look after the leader: its store may outlive it. */
  async #watch(): Promise<void> {
    const all = Array.from({ length: this.leads ? this.size : 1 }, (_, rank) => rank);
    const others = all.filter((rank) => rank !== this.rank && !this.#gone.has(rank));
    const counts = await this.store.get(others.map((rank) => `beat/${rank}`));
    const now = performance.now();
    for (const [i, rank] of others.entries()) {
      const count = counts[i] ?? '';
      const before = this.#seen.get(rank);
      if (before?.count !== count) this.#seen.set(rank, { count, since: now });
      else if (now - before.since > 1000 * this.options.heartbeatSeconds) {
        this.#gone.add(rank);
        await this.store.set(`gone/${rank}`, '1');
      }
    }
  }

  #givenUp(rank: number): DistributedError {
    return new DistributedError(
      `rank ${rank} gave no sign of life for ${this.options.heartbeatSeconds} s and was given up`,
    );
  }
}

/** Whether this process is the one that writes: alone, or as rank 0. */
export function leads(ranks: Ranks | undefined): boolean {
  return ranks?.leads ?? true;
}

/** Does something on every rank, but first on the leader, so that the others find it done. */
export async function leaderFirst<T>(
  ranks: Ranks | undefined,
  action: () => T | Promise<T>,
): Promise<T> {
  if (ranks?.leads === false) await ranks.hear();
  const result = await action();
  if (ranks?.leads === true) await ranks.tell(null);
  return result;
}
