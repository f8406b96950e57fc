/** What a program and an object in another thread say to each other; each message is of one call. */
import { PareError } from '../errors';

/** From the program. */
export type Request = { call: number } & (
  | { type: 'call'; method: string; args: unknown }
  /** The next value of an iterator is wanted. */
  | { type: 'next' }
  /** The caller is not interested any more. */
  | { type: 'leave' }
  | { type: 'abort' }
  /** What a stream of the caller gave when it was asked. */
  | { type: 'chunk'; stream: number; done: boolean; value: unknown }
  | { type: 'chunk'; stream: number; failure: number }
);

/** From the thread. */
export type Answer = { call: number } & (
  | { type: 'value'; done: boolean; value: unknown }
  | { type: 'error'; error: unknown }
  | { type: 'callback'; callback: number; args: unknown }
  | { type: 'pull'; stream: number }
);

/** What cannot be cloned stands in a message as an object with this key, which says what it is. */
const mark = 'pare:remote';

export type Stand =
  | { [mark]: 'callback'; index: number }
  | { [mark]: 'stream'; index: number }
  | { [mark]: 'signal' }
  /** An error of the caller's own, which comes back to it as it is. */
  | { [mark]: 'failure'; index: number }
  | ({ [mark]: 'error' } & PackedError);

export interface PackedError {
  /** Of its class and those that it extends. */
  names: string[];
  message: string;
  stack: string | undefined;
  /** Its other properties, `cause` among them. */
  fields: object;
}

/** An error that a caller's stream threw, while it is in the thread. */
export class CallersError extends Error {
  constructor(readonly index: number) {
    super('the stream that was given failed');
  }
}

/** Whether it is an object literal, or came out of one by cloning. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype as object) === null;
}

/** Copies arrays and plain objects, with what `replace` gives in place of other values. */
function map(value: unknown, replace: (value: unknown) => unknown): unknown {
  const replaced = replace(value);
  if (replaced !== value || typeof value !== 'object' || value === null) return replaced;
  if (Array.isArray(value)) return value.map((item) => map(item, replace));
  if (!isPlain(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, map(item, replace)]));
}

/** As `stand` says where it says anything; errors by their parts; arrays without what they are a view of. */
export function pack(
  value: unknown,
  stand: (value: unknown) => Stand | undefined = () => undefined,
): unknown {
  return map(value, (item) => {
    const marked = stand(item);
    if (marked !== undefined) return marked;
    if (item instanceof CallersError) return { [mark]: 'failure', index: item.index };
    if (item instanceof Error) return { [mark]: 'error', ...packError(item) };
    // A view of a part is cloned with the whole.
    if (item instanceof Uint8Array) return new Uint8Array(item);
    if (item instanceof Float32Array) return item.slice();
    return item;
  });
}

/** Puts back what `restore` makes of what stands for something. */
export function unpack(value: unknown, restore: (stand: Stand) => unknown): unknown {
  return map(value, (item) =>
    typeof item === 'object' && item !== null && mark in item ? restore(item as Stand) : item,
  );
}

export function stand(kind: 'callback' | 'stream', index: number): Stand {
  return { [mark]: kind, index };
}

export const signalStand: Stand = { [mark]: 'signal' };

export function kindOf(item: Stand): Stand[typeof mark] {
  return item[mark];
}

function packError(error: Error): PackedError {
  const names: string[] = [];
  for (let at: unknown = error; at instanceof Error; at = Object.getPrototypeOf(at)) {
    const { constructor } = at;
    if (!names.includes(constructor.name)) names.push(constructor.name);
  }
  const { message, stack, cause } = error;
  const fields = pack({ ...error, ...(cause !== undefined && { cause }) }) as object;
  return { names, message, stack, fields };
}

export type ErrorClass = abstract new (...args: never[]) => Error;

/** An error of the first of its classes that is known here. */
export function unpackError(
  { names, message, stack, fields }: PackedError,
  classes: readonly ErrorClass[],
): Error {
  const known = [...classes, PareError, TypeError, RangeError, SyntaxError];
  const found = names.map((name) => known.find((each) => each.name === name)).find(Boolean);
  const error = Object.create((found ?? Error).prototype as object) as Error;
  const hidden = { message, stack };
  for (const [key, value] of Object.entries(hidden)) {
    Object.defineProperty(error, key, { value, writable: true, configurable: true });
  }
  return Object.assign(error, fields);
}
