/** A plan as lines for people. */
import { totalmem } from 'node:os';
import type { Plan, PlannedStage } from '../pipeline/plan';
import type { Memory } from '../pipeline/plan-memory';
import { duration } from './progress';

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

export function planLines({
  stages,
  peak,
  devicePeak,
  disk,
  fetch,
  assumed,
  misfit,
  calibration,
}: Plan): string[] {
  const number = new Intl.NumberFormat('en');
  const onGpu = devicePeak !== undefined;
  const head = [
    ...['stage', 'parameters', 'trained', 'memory', ...(onGpu ? ['GPU'] : [])],
    ...['disk', 'time', 'took'],
  ];
  const widths = [22, 16, 16, 12, ...(onGpu ? [12] : []), 12, 14, 12];
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('');
  const rows = stages.flatMap((stage) => {
    const { name, parameters, trained, memory, deviceMemory, work, seconds } = stage;
    const partsOf = (all: Memory, where: string): string[] =>
      Object.entries(all)
        .filter(([, bytes]) => bytes >= 5e6)
        .map(([what, bytes]) => `${where}${what} ${gigabytes(bytes)}`);
    const parts = [...partsOf(memory, ''), ...partsOf(deviceMemory ?? {}, 'GPU: ')];
    const cells = [name, number.format(parameters), trained > 0 ? number.format(trained) : ''];
    const took = seconds === undefined ? '' : duration(seconds);
    const time = expectedOf(stage);
    return [
      line([
        ...[...cells, gigabytes(stage.peak)],
        ...(onGpu ? [stage.devicePeak === undefined ? '' : gigabytes(stage.devicePeak)] : []),
        ...[gigabytes(stage.disk), time, took],
      ]).trimEnd(),
      `  ${[...(work === undefined ? [] : [work]), ...parts].join(', ')}`,
    ];
  });
  return [
    ...[line(head).trimEnd(), ...rows, ''],
    `memory: ${gigabytes(peak)} at the peak; this machine has ${gigabytes(totalmem())}`,
    ...(onGpu ? [`the GPU's memory: ${gigabytes(devicePeak)} at the peak`] : []),
    `disk: ${gigabytes(disk)}, the state of the largest training included`,
    ...(fetch === undefined ? [] : [fetchLine(fetch)]),
    ...(calibration === undefined ? [] : [timeLine(stages, calibration)]),
    ...assumed.map((text) => `assumed: ${text}`),
    misfit === undefined ? 'it fits' : `it does not fit: ${misfit}`,
  ];
}

/** Of what a step or a batch is, how much must have been timed at once for a time to be sure. */
const sure = 4;

function expectedOf({ expectedSeconds, extrapolated = 1 }: PlannedStage): string {
  if (expectedSeconds === undefined) return '';
  return `${extrapolated > sure ? '~ ' : ''}${duration(expectedSeconds)}`;
}

function timeLine(stages: readonly PlannedStage[], calibration: number): string {
  const open = stages.filter(({ seconds }) => seconds === undefined);
  const sum = open.reduce((all, { expectedSeconds = 0 }) => all + expectedSeconds, 0);
  const guessed = stages.some(({ extrapolated = 1 }) => extrapolated > sure);
  return (
    `time: ${duration(sum)} for what is not done, on a machine that does nothing else; ` +
    `calibrated in ${calibration.toFixed(0)} s of processor time` +
    (guessed ? `; ~ where less than a quarter of a step or a batch could be timed` : '')
  );
}

function fetchLine({ name, revision, files, bytes }: NonNullable<Plan['fetch']>): string {
  return `to fetch: ${name} (${revision}), ${files} files, ${gigabytes(bytes)}`;
}
