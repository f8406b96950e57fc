export { AdamW } from './adamw';
export { AdamW8bit } from './adamw-8bit';
export { Optimizer, OptimizerError, type AdamWOptions, type ParameterGroup } from './optimizer';
export { clipGradNorm } from './clip';
