/** The loop of a contestant in Node: a line of JSON in, a line of JSON out. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

export async function serve(
  ready: object,
  answer: (request: Record<string, never>) => object | Promise<object>,
): Promise<void> {
  console.log(JSON.stringify(ready));
  for await (const line of createInterface(process.stdin)) {
    console.log(JSON.stringify(await answer(JSON.parse(line) as Record<string, never>)));
  }
}

/** From now on, the peak of resident memory counts from what is resident now. */
export function resetPeak(): void {
  writeFileSync('/proc/self/clear_refs', '5');
}

/** Peak resident memory in MB, from the kernel. */
export function peakMegabytes(): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)![1]) / 1000;
}
