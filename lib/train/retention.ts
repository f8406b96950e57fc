/** Checkpoints of a training run that are kept: one more, should the last be damaged. */
export const defaultKeep = 2;
