/** `adamw8bit` keeps its moments in 8 bits. Needs no addon. */
export const optimizerNames = ['adamw', 'adamw8bit'] as const;
/** One of {@link optimizerNames}. */
export type OptimizerName = (typeof optimizerNames)[number];
/** Bytes of both moments of a parameter. */
export const momentBytes: Record<OptimizerName, number> = { adamw: 8, adamw8bit: 2 };

/** How parameters in bfloat16 are rounded after a step: `nearest` loses updates that are small. */
export const roundings = ['stochastic', 'nearest'] as const;
/** One of {@link roundings}. */
export type Rounding = (typeof roundings)[number];
/** What trained weights are held in: bfloat16 takes half of the memory, gradients included. */
export const weightDtypes = ['float32', 'bfloat16'] as const;
/** One of {@link weightDtypes}. */
export type WeightDtype = (typeof weightDtypes)[number];
