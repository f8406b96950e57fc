/** A plan as lines for people. */
import { totalmem } from 'node:os';
import type { Plan } from '../pipeline/plan';
import { duration } from './progress';

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

export function planLines({ stages, peak, disk, fetch, assumed, misfit }: Plan): string[] {
  const number = new Intl.NumberFormat('en');
  const head = ['stage', 'parameters', 'trained', 'memory', 'disk', 'took'];
  const widths = [22, 16, 16, 12, 12, 12];
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('');
  const rows = stages.flatMap((stage) => {
    const { name, parameters, trained, memory, work, seconds } = stage;
    const parts = Object.entries(memory)
      .filter(([, bytes]) => bytes >= 5e6)
      .map(([what, bytes]) => `${what} ${gigabytes(bytes)}`);
    const cells = [name, number.format(parameters), trained > 0 ? number.format(trained) : ''];
    const took = seconds === undefined ? '' : duration(seconds);
    return [
      line([...cells, gigabytes(stage.peak), gigabytes(stage.disk), took]).trimEnd(),
      `  ${[...(work === undefined ? [] : [work]), ...parts].join(', ')}`,
    ];
  });
  return [
    ...[line(head).trimEnd(), ...rows, ''],
    `memory: ${gigabytes(peak)} at the peak; this machine has ${gigabytes(totalmem())}`,
    `disk: ${gigabytes(disk)}, the state of the largest training included`,
    ...(fetch === undefined ? [] : [fetchLine(fetch)]),
    ...assumed.map((text) => `assumed: ${text}`),
    misfit === undefined ? 'it fits' : `it does not fit: ${misfit}`,
  ];
}

function fetchLine({ name, revision, files, bytes }: NonNullable<Plan['fetch']>): string {
  return `to fetch: ${name} (${revision}), ${files} files, ${gigabytes(bytes)}`;
}
