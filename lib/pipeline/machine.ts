/** What the machine has left for a run. */
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { freemem } from 'node:os';
import { dirname, join, resolve } from 'node:path';

/** What a run may take, in bytes. */
export interface Machine {
  /** Memory; what this process holds already is part of it. */
  memory: number;
  /** Of the file system that the output is on. */
  disk: number;
  /** Of the GPU's memory, where one computes and is here. */
  gpu?: number;
}

/** `key: number` or `key number` lines of a file of the kernel, in its own units. */
function numbers(path: string): Map<string, number> {
  const lines = readFileSync(path, 'utf8').matchAll(/^(\w+):?\s+(\d+)/gm);
  return new Map(Array.from(lines, ([, key, value]) => [key!, Number(value)]));
}

/** The first of some ways to know something that works here. */
function firstOf<T>(ways: readonly (() => T | undefined)[]): T | undefined {
  for (const way of ways) {
    try {
      const found = way();
      if (found !== undefined) return found;
    } catch {
      // Another system, or another version of it.
    }
  }
  return undefined;
}

/** Bytes that a limited group of processes, such as a container, has left; page cache is given back. */
function leftInGroup(
  dir: string,
  limitFile: string,
  usedFile: string,
  prefix: string,
): number | undefined {
  const limit = Number(readFileSync(join(dir, limitFile), 'utf8'));
  // `max`, or an enormous number, where there is none.
  if (!(limit < 2 ** 60)) return undefined;
  const used = Number(readFileSync(join(dir, usedFile), 'utf8'));
  const statistics = numbers(join(dir, 'memory.stat'));
  const cache = ['inactive_file', 'active_file'].reduce(
    (sum, key) => sum + (statistics.get(`${prefix}${key}`) ?? 0),
    0,
  );
  return limit - used + cache;
}

/** Of all groups that this process is in, the least that one of them has left. */
function leftInGroups(): number | undefined {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n');
  let least: number | undefined;
  for (const line of lines) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const second = controllers === '';
    if (path === undefined || (!second && controllers !== 'memory')) continue;
    const root = second ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory';
    // In a container the group is often the root that is seen.
    for (let at = path; ; at = dirname(at)) {
      const dir = join(root, at);
      const left = firstOf([
        () => leftInGroup(dir, 'memory.max', 'memory.current', ''),
        () => leftInGroup(dir, 'memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_'),
      ]);
      if (left !== undefined) least = Math.min(least ?? Infinity, left);
      if (at === '/' || at === '.') break;
    }
  }
  return least;
}

/** What this process holds that is not pages of files. */
function ownMemory(): number {
  return (
    firstOf([() => numbers('/proc/self/status').get('RssAnon')! * 1024]) ??
    process.memoryUsage().rss
  );
}

/**
 * What is left of memory (MemAvailable, or less where a control group allows less) and of the disk
 * that `output`, which need not be there yet, is on.
 */
export function availableHere(output: string): Machine {
  const system = firstOf([() => numbers('/proc/meminfo').get('MemAvailable')! * 1024]) ?? freemem();
  const left = Math.min(system, firstOf([leftInGroups]) ?? Infinity);
  let folder = resolve(output);
  while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder);
  const disk = firstOf([
    () => {
      const { bavail, bsize } = statfsSync(folder);
      return bavail * bsize;
    },
  ]);
  return { memory: left + ownMemory(), disk: disk ?? Infinity };
}
