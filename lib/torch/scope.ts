/**
 * Who frees tensors. JavaScript's collector runs finalizers between turns of the event loop only,
 * so a synchronous loop would keep every tensor alive. A scope frees what was made inside it, in
 * one native call, except what it returns or what was kept.
 */
import { PareError } from '../errors';
import { binding, ok } from './binding';
import type { Tensor } from './tensor';

/** A scope was misused. */
export class ScopeError extends PareError {}

/** Anything that owns tensors and wants to leave a scope with them, such as a Module. */
export interface TensorOwner {
  /** All tensors that leave a scope with it. */
  ownedTensors(): Iterable<Tensor>;
}

/**
 * @internal The id of a freed tensor. Not 0, which stands for "none": a freed bias or mask must be
 * an error, not left out.
 */
export const freed = -1;

/** The mark of a tensor that survives every scope. */
const kept = -1;

let current: Tensor[] | undefined;
let exits = 0;

// The safety net for tensors made outside of any scope and never disposed.
const forgotten = new FinalizationRegistry<{ id: number }>((handle) => {
  if (handle.id !== freed) binding.releaseOne(handle.id);
});

/** @internal Called by Tensor's constructor. */
export function track(tensor: Tensor): void {
  if (current !== undefined) current.push(tensor);
  else watch(tensor);
}

function watch(tensor: Tensor): void {
  forgotten.register(tensor, tensor.handle, tensor);
}

/** @internal Called by Tensor.dispose. */
export function untrack(tensor: Tensor): void {
  forgotten.unregister(tensor);
}

function isTensor(value: object): value is Tensor {
  return 'handle' in value && typeof (value as Tensor).handle === 'object';
}

function isOwner(value: object): value is TensorOwner {
  return 'ownedTensors' in value && typeof value.ownedTensors === 'function';
}

function markReturned(value: unknown, mark: number): void {
  if (typeof value !== 'object' || value === null) return;
  if (isTensor(value)) {
    // What was kept is out of every scope; returning it does not hand it to the one around.
    if (value.scopeMark !== kept) value.scopeMark = mark;
  } else if (isOwner(value)) {
    for (const tensor of value.ownedTensors()) markReturned(tensor, mark);
  } else if (Array.isArray(value) || value instanceof Set) {
    for (const item of value) markReturned(item, mark);
  } else if (value instanceof Map) {
    for (const item of value.values()) markReturned(item, mark);
  } else if (!ArrayBuffer.isView(value) && isPlain(value)) {
    for (const item of Object.values(value)) markReturned(item, mark);
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/**
 * Runs `body` and frees every tensor made inside that it does not return (alone or in arrays,
 * maps, plain objects and modules) and that was not kept. Returned tensors belong to the scope
 * around this one. When `body` throws, everything made inside is freed.
 * @throws ScopeError if `body` returns a promise: a scope cannot span turns of the event loop.
 */
export function scope<T>(body: () => T): T {
  const outer = current;
  const made: Tensor[] = [];
  current = made;
  const mark = ++exits;
  try {
    const result = body();
    if (result instanceof Promise) {
      throw new ScopeError('scope() was given an async function; use one scope a step instead');
    }
    markReturned(result, mark);
    return result;
  } finally {
    current = outer;
    const ids = new Uint32Array(made.length);
    let count = 0;
    for (const tensor of made) {
      const id = tensor.handle.id;
      if (id === freed) continue;
      if (tensor.scopeMark === mark) {
        track(tensor);
      } else if (tensor.scopeMark === kept) {
        watch(tensor);
      } else {
        ids[count++] = id;
        tensor.handle.id = freed;
      }
    }
    if (count > 0) ok(binding.release(ids.subarray(0, count)));
  }
}

/** Exempts tensors from every scope around; they live until `dispose()`. Returns its argument. */
export function keep<T extends Tensor | TensorOwner>(value: T): T {
  const tensors = isOwner(value) ? value.ownedTensors() : [value as Tensor];
  for (const tensor of tensors) tensor.scopeMark = kept;
  return value;
}

/** Live tensor handles of this thread and the bytes behind them, each storage counted once. */
export function memory(): { handles: number; bytes: number } {
  return { handles: binding.handles(), bytes: binding.bytes() };
}
