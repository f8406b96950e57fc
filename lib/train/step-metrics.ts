/** What a training log says of a step beside what the loop knows. */
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
      peakMemory: process.resourceUsage().maxRSS * 1024,
      etaSeconds: (spent / taken) * (steps - step),
    };
  };
}
