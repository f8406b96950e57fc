/** What the command hands to its parts (see index.ts), and how all of them say what they found. */
import { mkdirSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import type { Measured } from './race';
import { median } from './race';

export const root: string = join(__dirname, '../../..');
/** Models and other files that the benchmarks make and keep. */
export const work: string = join(root, 'build/bench/files');
mkdirSync(work, { recursive: true });

export const python: string = process.env.PARE_BENCH_PYTHON ?? 'python3';
/** The folder in whose node_modules node-llama-cpp is. */
export const packages: string = process.env.PARE_BENCH_PACKAGES ?? '';
export const rounds: number = Number(process.env.PARE_BENCH_ROUNDS ?? '5');
export const threads: number = availableParallelism();

/** A program of this folder, as the command that starts it. */
export function ours(name: string, ...args: string[]): string[] {
  return [process.execPath, join(__dirname, 'contestants', `${name}.js`), ...args];
}
export function theirs(name: string, ...args: string[]): string[] {
  return [python, join(root, 'bench/peers', `${name}.py`), ...args];
}

export function print(...paragraphs: string[]): void {
  for (const paragraph of paragraphs) console.log(`${paragraph}\n`);
}

export function machine(...versions: unknown[]): string {
  return [`${cpus()[0]!.model.trim()}, ${threads} threads`, ...versions.map(String)].join('; ');
}

export function printTable(head: readonly string[], rows: readonly (readonly unknown[])[]): void {
  console.log(`| ${head.join(' | ')} |\n|${head.map(() => '---|').join('')}`);
  for (const row of rows) console.log(`| ${row.map(String).join(' | ')} |`);
  console.log();
}

/** Median and, in brackets, the fastest and slowest round. */
export function spread(values: readonly number[], digits: number): string {
  const show = (value: number): string => value.toFixed(digits);
  return `${show(median(values))} (${show(Math.min(...values))} to ${show(Math.max(...values))})`;
}

/** The median over the rounds of how many times longer `slow` took than `fast`. */
export function times(
  slow: readonly Measured[],
  fast: readonly Measured[],
  key: string = 'ms',
): number {
  return median(fast.map((own, round) => slow[round]![key]! / own[key]!));
}
