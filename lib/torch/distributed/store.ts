import { binding, ok, type Callback } from '../binding';
import { called } from './call';
import { unreachable } from './error';

/** Ask at most this often whether something has changed. */
const pollMilliseconds = 20;

/** Where the store is, and whether it lives in this process. */
export interface StoreOptions {
  /** Name or address of the machine of rank 0; the server listens on this address alone. */
  host: string;
  /** 0 for a free one, which {@link TcpStore.port} tells (on the server only). */
  port: number;
  isServer: boolean;
  timeoutSeconds: number;
  /** Whose it is, for errors; rank 0's unless given. */
  keeper?: string;
}

const nameOf = ({ keeper = 'rank 0', host, port }: StoreOptions): string =>
  `the store of ${keeper} at ${host}:${port}`;

/**
 * c10d's TCP store: a key-value store of texts that lives in one process, the server, and is read
 * and written by all. No key may have the empty text.
 */
export class TcpStore {
  #callSeconds: number;

  private constructor(
    /** @internal */
    readonly id: number,
    readonly options: StoreOptions,
    /** What this is a part of. */
    private readonly whole?: TcpStore,
  ) {
    this.#callSeconds = options.timeoutSeconds;
  }

  /** How long a call may take; opening has a limit of its own. */
  get callSeconds(): number {
    return this.#callSeconds;
  }
  /** Also of what this is a part of. */
  set callSeconds(seconds: number) {
    this.#callSeconds = seconds;
    if (this.whole !== undefined) this.whole.callSeconds = seconds;
  }

  /** @throws DistributedError if nobody answers there in time, or the port is taken */
  static async open(options: StoreOptions): Promise<TcpStore> {
    const { host, port, isServer, timeoutSeconds } = options;
    const milliseconds = Math.ceil(1000 * timeoutSeconds);
    const start = (callback: Callback<number>): true | undefined =>
      binding.storeOpen(host, port, isServer, milliseconds, callback);
    const id = await called<number>(nameOf(options), timeoutSeconds, start, unreachable);
    return new TcpStore(id, { ...options, port: ok(binding.storePort(id)) });
  }

  /** The part of the store whose keys begin with `prefix`, which is left out; closed, it closes all. */
  within(prefix: string): TcpStore {
    return new TcpStore(ok(binding.storeWithin(this.id, prefix)), this.options, this);
  }

  /** The port that the server listens on. */
  get port(): number {
    return this.options.port;
  }

  /**
   * Sets a key, whatever its value was.
   * @throws DistributedError if the server does not answer in time
   */
  async set(key: string, value: string): Promise<void> {
    await this.#call<undefined>((callback) => binding.storeSet(this.id, key, value, callback));
  }

  /** The values of these keys; undefined for a key that is not there. */
  async get(keys: readonly string[]): Promise<(string | undefined)[]> {
    if (keys.length === 0) return [];
    const values = await this.#call<(string | null)[]>((callback) =>
      binding.storeGet(this.id, [...keys], callback),
    );
    return values.map((value) => value ?? undefined);
  }

  /** Adds to a number, 0 at first, and returns the sum. */
  add(key: string, amount: number): Promise<number> {
    return this.#call<number>((callback) => binding.storeAdd(this.id, key, amount, callback));
  }

  /**
   * Sets a key to `desired` if its value is `expected` (undefined: if it is not there).
   * @returns its value after that
   */
  compareSet(key: string, expected: string | undefined, desired: string): Promise<string> {
    return this.#call<string>((callback) =>
      binding.storeCompareSet(this.id, key, expected ?? '', desired, callback),
    );
  }

  /** Waits, without blocking, until `key` is there; `check` is called in between and may throw. */
  async waitFor(key: string, check: () => unknown): Promise<string> {
    for (;;) {
      const [value] = await this.get([key]);
      if (value !== undefined) return value;
      await check();
      await new Promise((resolve) => setTimeout(resolve, pollMilliseconds));
    }
  }

  /** Adds 1 to a key at every interval, from a thread of its own, as long as this process lives. */
  beat(key: string, intervalSeconds: number): void {
    ok(binding.storeBeat(this.id, key, Math.ceil(1000 * intervalSeconds)));
  }

  /** Ends the connection, and on the server the store. */
  close(): void {
    ok(binding.storeClose(this.id));
    this.whole?.close();
  }

  #call<T>(start: (callback: Callback<T>) => true | undefined): Promise<T> {
    return called<T>(nameOf(this.options), this.callSeconds, start);
  }
}
