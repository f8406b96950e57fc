/** `adamw8bit` keeps its moments in 8 bits: 2 bytes a parameter instead of 8. Needs no addon. */
export const optimizerNames = ['adamw', 'adamw8bit'] as const;
/** One of {@link optimizerNames}. */
export type OptimizerName = (typeof optimizerNames)[number];
