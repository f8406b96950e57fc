import type { Worker } from 'node:worker_threads';
import {
  kindOf,
  pack,
  signalStand,
  stand,
  unpack,
  unpackError,
  type Answer,
  type ErrorClass,
  type Request,
  type Stand,
} from './messages';

/**
 * An object that lives in another thread, which `serve` has made there. Its methods may take what
 * cannot be cloned (functions, which then return nothing; an AbortSignal; streams) anywhere in
 * plain objects and arrays, and give values, promises or async generators. Errors keep their
 * classes.
 */
export class RemoteObject {
  readonly #worker: Worker;
  readonly #errors: readonly ErrorClass[];
  readonly #calls = new Map<number, Call>();
  #next = 0;
  /** Why there are no more answers. */
  #ended: Error | undefined;

  /**
   * @param errors classes that errors of the thread may be of
   * @param onEnd what calls are told when the thread has ended by itself
   */
  constructor(worker: Worker, errors: readonly ErrorClass[], onEnd: (why: string) => Error) {
    this.#worker = worker;
    this.#errors = errors;
    worker.on('message', (answer: Answer) => this.#calls.get(answer.call)?.hear(answer));
    worker.on('error', (error: Error) => this.#endAll(onEnd(error.message)));
    worker.on('exit', (code) => this.#endAll(onEnd(`it exited with ${code}`)));
    worker.unref();
  }

  /** Makes the object; what is given to it stays for its whole life. */
  async create(...args: readonly unknown[]): Promise<void> {
    const call = this.#begin('create', args);
    try {
      await call.answer();
    } catch (error) {
      this.#end(call);
      throw error;
    }
    this.#settle(call);
  }

  /** @throws what the method throws; at once the signal's reason, or what `end` was given */
  async call<T>(method: string, ...args: readonly unknown[]): Promise<T> {
    const call = this.#begin(method, args);
    try {
      return (await call.answer()).value as T;
    } finally {
      this.#end(call);
    }
  }

  /** Of a method that gives an async generator, which makes the next value when it is asked for. */
  async *iterate<T, R = void>(method: string, ...args: readonly unknown[]): AsyncGenerator<T, R> {
    const call = this.#begin(method, args);
    try {
      for (;;) {
        const { done, value } = await call.answer();
        if (done) return value as R;
        yield value as T;
        call.post({ type: 'next' });
      }
    } finally {
      this.#end(call);
    }
  }

  /** Ends the thread as soon as what it computes now is done; calls fail with the error at once. */
  async end(error: Error): Promise<void> {
    this.#endAll(error);
    await this.#worker.terminate();
  }

  #begin(method: string, args: readonly unknown[]): Call {
    if (this.#ended !== undefined) throw this.#ended;
    const id = this.#next++;
    const call = new Call(args, this.#errors, (request) =>
      this.#worker.postMessage({ call: id, ...request }),
    );
    call.begin(method);
    this.#calls.set(id, call);
    call.onEnd = () => this.#calls.delete(id);
    this.#keepAlive();
    return call;
  }

  #end(call: Call): void {
    call.end();
    this.#keepAlive();
  }

  #settle(call: Call): void {
    call.waits = false;
    this.#keepAlive();
  }

  #endAll(error: Error): void {
    this.#ended ??= error;
    for (const call of this.#calls.values()) call.fail(this.#ended);
  }

  /** The thread keeps the program alive while somebody waits for it, and no longer. */
  #keepAlive(): void {
    if ([...this.#calls.values()].some(({ waits }) => waits)) this.#worker.ref();
    else this.#worker.unref();
  }
}

type Value = { done: boolean; value: unknown };
type WithoutCall<T> = T extends { call: number } ? Omit<T, 'call'> : never;

/** One call, with those of its arguments that stay here. */
class Call {
  /** Whether somebody waits for the answer. */
  waits = true;
  onEnd: () => void = () => undefined;
  readonly post: (request: WithoutCall<Request>) => void;
  readonly #errors: readonly ErrorClass[];
  readonly #args: unknown;
  readonly #callbacks: ((...args: unknown[]) => unknown)[] = [];
  readonly #streams: AsyncIterator<unknown>[] = [];
  /** What streams threw. */
  readonly #failures: unknown[] = [];
  #signal: AbortSignal | undefined;
  #over = false;
  #answers: Value[] = [];
  #failure: { error: unknown } | undefined;
  #heard: () => void = () => undefined;

  constructor(
    args: readonly unknown[],
    errors: readonly ErrorClass[],
    post: (request: WithoutCall<Request>) => void,
  ) {
    this.#errors = errors;
    this.post = post;
    this.#args = pack(args, (value) => this.#stand(value));
  }

  begin(method: string): void {
    this.#signal?.throwIfAborted();
    this.#signal?.addEventListener('abort', this.#abort);
    this.post({ type: 'call', method, args: this.#args });
  }

  /** The next. */
  async answer(): Promise<Value> {
    if (this.#answers.length === 0 && this.#failure === undefined) {
      await new Promise<void>((resolve) => (this.#heard = resolve));
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    return this.#answers.shift()!;
  }

  hear(answer: Answer): void {
    switch (answer.type) {
      case 'value':
        this.#over = answer.done;
        this.#answers.push({ done: answer.done, value: this.#unpack(answer.value) });
        this.#heard();
        break;
      case 'error':
        this.#over = true;
        this.fail(this.#unpack(answer.error));
        break;
      case 'callback':
        this.#callBack(answer.callback, this.#unpack(answer.args) as unknown[]);
        break;
      case 'pull':
        void this.#pull(answer.stream);
    }
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#heard();
  }

  end(): void {
    this.waits = false;
    this.#signal?.removeEventListener('abort', this.#abort);
    if (!this.#over) this.post({ type: 'leave' });
    for (const stream of this.#streams) void Promise.resolve(stream.return?.()).catch(() => null);
    this.onEnd();
  }

  readonly #abort = (): void => {
    this.post({ type: 'abort' });
    this.fail(this.#signal!.reason);
  };

  #callBack(index: number, args: unknown[]): void {
    try {
      this.#callbacks[index]!(...args);
    } catch (error) {
      this.post({ type: 'abort' });
      this.fail(error);
    }
  }

  async #pull(stream: number): Promise<void> {
    try {
      const { done = false, value } = await this.#streams[stream]!.next();
      this.post({ type: 'chunk', stream, done, value: pack(value) });
    } catch (error) {
      this.post({ type: 'chunk', stream, failure: this.#failures.push(error) - 1 });
    }
  }

  #stand(value: unknown): Stand | undefined {
    if (typeof value === 'function') {
      const callback = value as (...args: unknown[]) => unknown;
      return stand('callback', this.#callbacks.push(callback) - 1);
    }
    if (typeof value !== 'object' || value === null) return undefined;
    if (value instanceof AbortSignal) {
      this.#signal = value;
      return signalStand;
    }
    if (Symbol.asyncIterator in value) {
      const iterator = (value as AsyncIterable<unknown>)[Symbol.asyncIterator]();
      return stand('stream', this.#streams.push(iterator) - 1);
    }
    return undefined;
  }

  #unpack(value: unknown): unknown {
    return unpack(value, (item) => {
      if (kindOf(item) === 'failure') return this.#failures[(item as { index: number }).index];
      const packed = item as unknown as Parameters<typeof unpackError>[0];
      return unpackError(
        { ...packed, fields: this.#unpack(packed.fields) as object },
        this.#errors,
      );
    });
  }
}
