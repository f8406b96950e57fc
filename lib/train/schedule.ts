/** Learning-rate schedules: a factor for the step about to be taken, as transformers has them. */
export const scheduleNames = ['constant', 'linear', 'cosine'] as const;
/** One of {@link scheduleNames}. */
export type ScheduleName = (typeof scheduleNames)[number];

/**
 * The factor of step `step` (from 0) of `steps`: a linear warm-up, then constant, or down to zero
 * along a line or half a cosine (`get_cosine_schedule_with_warmup`).
 */
export function scheduleFactor(
  name: ScheduleName,
  step: number,
  steps: number,
  warmupSteps: number = 0,
): number {
  if (step < warmupSteps) return step / Math.max(1, warmupSteps);
  const progress = (step - warmupSteps) / Math.max(1, steps - warmupSteps);
  if (name === 'constant') return 1;
  if (name === 'linear') return Math.max(0, 1 - progress);
  return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
}
