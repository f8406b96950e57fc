/** What tensors take of the machine's memory. `memory()` of `./scope` counts this thread's handles. */
import { binding, ok } from './binding';

/**
 * Bytes of the process's CPU tensors of 512 KB and more, of all threads: `allocated` is in use,
 * `reserved` also what is kept for the next ones. What was kept for ten seconds goes back to the system.
 * As torch.cuda's memory_allocated and memory_reserved.
 */
export function memoryStats(): { allocated: number; reserved: number } {
  const [allocated, reserved] = ok(binding.blocks());
  return { allocated, reserved };
}

/** Gives what is kept for new tensors back to the system at once, as torch.cuda's empty_cache. */
export function emptyCache(): void {
  ok(binding.emptyCache());
}
