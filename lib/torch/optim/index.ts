export { AdamW } from './adamw';
export { AdamW8bit } from './adamw-8bit';
export {
  OptimizerError,
  type AdamWOptions,
  type Optimizer,
  type ParameterGroup,
} from './optimizer';
export { clipGradNorm } from './clip';
