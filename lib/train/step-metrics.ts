/** What a training log says of a step beside what the loop knows. */
import { readFileSync } from 'node:fs';
import type { TrainingLogEntry } from './loop';

/**
 * Adds to each step its epoch (1.5 is in the middle of the second), tokens a second, the process'
 * peak of resident memory in bytes, and the seconds that are left at the pace so far.
 */
export function stepMetrics(stepsPerEpoch: number): (entry: TrainingLogEntry) => TrainingLogEntry {
  let spent = 0;
  let taken = 0;
  return (entry) => {
    const { step, steps, seconds, tokens = 0 } = entry;
    spent += seconds;
    taken++;
    return {
      ...entry,
      epoch: step / stepsPerEpoch,
      tokensPerSecond: tokens / seconds,
      peakMemory: peakMemory(),
      etaSeconds: (spent / taken) * (steps - step),
    };
  };
}

/**
 * Bytes. getrusage counts what a parent had when it forked the process; Linux knows the process'
 * own.
 */
function peakMemory(): number {
  try {
    const status = readFileSync('/proc/self/status', 'utf8');
    return Number(/^VmHWM:\s*(\d+) kB/m.exec(status)![1]) * 1024;
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}
