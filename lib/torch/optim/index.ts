export { AdamW, OptimizerError, type AdamWOptions, type ParameterGroup } from './adamw';
export { clipGradNorm } from './clip';
