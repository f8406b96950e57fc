import type { MessagePort } from 'node:worker_threads';
import {
  CallersError,
  kindOf,
  pack,
  unpack,
  type Answer,
  type Request,
  type Stand,
} from './messages';

/**
 * In a thread: makes an object when it is asked to, and answers calls of its methods.
 * @param create gets the arguments of `RemoteObject.create`
 */
export function serve(
  port: MessagePort,
  create: (...args: never[]) => object | Promise<object>,
): void {
  const calls = new Map<number, Served>();
  const target: { object?: object } = {};
  port.on('message', (request: Request) => {
    const { call } = request;
    if (request.type === 'call') {
      const served = new Served((answer) => port.postMessage({ call, ...answer }));
      calls.set(call, served);
      const args = served.unpack(request.args) as unknown[];
      const isOver = served.run(async () => {
        if (request.method !== 'create') return method(target.object!, request.method)(...args);
        target.object = await (create as (...args: unknown[]) => object | Promise<object>)(...args);
        return undefined;
      });
      void isOver.finally(() => calls.delete(call));
    } else calls.get(call)?.hear(request);
  });
}

function method(object: object, name: string): (...args: unknown[]) => unknown {
  const found = (object as Record<string, unknown>)[name];
  if (typeof found !== 'function') throw new TypeError(`there is no method ${name}`);
  return found.bind(object) as (...args: unknown[]) => unknown;
}

type WithoutCall<T> = T extends { call: number } ? Omit<T, 'call'> : never;

/** One call, as the thread sees it. */
class Served {
  readonly #post: (answer: WithoutCall<Answer>) => void;
  readonly #controller = new AbortController();
  /** What waits for a chunk of a stream of the caller's. */
  readonly #pulls = new Map<number, (chunk: Extract<Request, { type: 'chunk' }>) => void>();
  #wanted: () => void = () => undefined;
  #isLeft = false;

  constructor(post: (answer: WithoutCall<Answer>) => void) {
    this.#post = post;
  }

  async run(compute: () => Promise<unknown>): Promise<void> {
    try {
      const result = await compute();
      if (isIterator(result)) await this.#iterate(result);
      else this.#post({ type: 'value', done: true, value: pack(result) });
    } catch (error) {
      try {
        this.#post({ type: 'error', error: pack(error) });
      } catch {
        // A field of it cannot be cloned. Without an answer the caller would wait for ever.
        const { message, name } = error as Error;
        this.#post({ type: 'error', error: pack(new Error(`${name}: ${message}`)) });
      }
    }
  }

  hear(request: Request): void {
    if (request.type === 'next') this.#wanted();
    if (request.type === 'chunk') this.#pulls.get(request.stream)?.(request);
    if (request.type === 'abort' || request.type === 'leave') {
      this.#isLeft = true;
      this.#controller.abort();
      this.#wanted();
      for (const [stream, give] of this.#pulls) {
        give({ call: 0, type: 'chunk', stream, done: true, value: undefined });
      }
    }
  }

  unpack(value: unknown): unknown {
    return unpack(value, (item) => this.#restore(item));
  }

  async #iterate(iterator: AsyncGenerator<unknown, unknown>): Promise<void> {
    for (;;) {
      const { done = false, value } = await iterator.next();
      const wanted = new Promise<void>((resolve) => (this.#wanted = resolve));
      this.#post({ type: 'value', done, value: pack(value) });
      if (done) return;
      if (!this.#isLeft) await wanted;
      if (this.#isLeft) return void (await iterator.return(undefined));
    }
  }

  #restore(item: Stand): unknown {
    const { index } = item as { index: number };
    switch (kindOf(item)) {
      case 'signal':
        return this.#controller.signal;
      case 'callback':
        return (...args: unknown[]) =>
          this.#post({ type: 'callback', callback: index, args: pack(args) });
      case 'stream':
        return this.#stream(index);
      default:
        return undefined;
    }
  }

  async *#stream(stream: number): AsyncGenerator<unknown, void> {
    for (;;) {
      const answer = new Promise<Extract<Request, { type: 'chunk' }>>((resolve) =>
        this.#pulls.set(stream, resolve),
      );
      this.#post({ type: 'pull', stream });
      const chunk = await answer;
      this.#pulls.delete(stream);
      if ('failure' in chunk) throw new CallersError(chunk.failure);
      if (chunk.done) return;
      yield chunk.value;
    }
  }
}

function isIterator(value: unknown): value is AsyncGenerator<unknown, unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}
