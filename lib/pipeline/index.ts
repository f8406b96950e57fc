export { runRecipe, type RunResult } from './run';
export { readPoints, type PointOptions, type SweepPoint } from './points';
export { runSweep, type SweepOptions, type SweepResult } from './sweep';
export { parseRecipe, readRecipe, RecipeError, SettingError } from './recipe';
export { recipeJsonSchema, type Recipe } from './recipe-schema';
export { RunFolder, RunFolderError, type Artifact } from './run-folder';
export { type Progress, type RunOptions } from './context';
export { distillCorpus, readTeacherTexts, type DistillOptions } from './steps/distill';
export { finetuneCheckpoint, type FinetuneOptions, type FinetuneResult } from './steps/finetune';
export { evaluateCheckpoint, type EvaluateOptions } from './steps/evaluate';
export { searchCheckpoint, type SearchOptions } from './steps/importance';
export { drawReport } from './draw-report';
export { planRecipe, type Plan, type PlannedStage, type PlanOptions } from './plan';
export { PlanError } from './plan-fit';
export { availableHere, type Machine } from './machine';
export {
  ResumeError,
  verifyResume,
  type ResumeVerification,
  type VerifyResumeOptions,
} from './verify-resume';
export { curveOf } from './curve';
