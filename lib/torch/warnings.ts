/** What libtorch warns of, as the process's `warning` events. */
import type { Binding } from './binding';

/** What libtorch warns of, as the process's `warning` event tells it; each message once. */
export class TorchWarning extends Error {
  override readonly name = 'TorchWarning';
}

/** From now on libtorch's warnings are the process's. */
export function tellWarnings(binding: Pick<Binding, 'onWarning'>): void {
  const warned = new Set<string>();
  binding.onWarning((message) => {
    if (warned.has(message)) return;
    warned.add(message);
    // Not here, within an operation, where a listener must not call another; but before anything that
    // waits, as `process.emitWarning` does: a notebook takes what comes after its cell for nobody's.
    queueMicrotask(() => process.emit('warning', new TorchWarning(message)));
  });
}
