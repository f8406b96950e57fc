export { runRecipe, type RunResult } from './run';
export { readPoints, type PointOptions, type SweepPoint } from './points';
export { runSweep, type SweepOptions, type SweepResult } from './sweep';
export { parseRecipe, readRecipe, RecipeError, SettingError } from './recipe';
export { recipeJsonSchema, type Recipe } from './recipe-schema';
export { RunFolder, RunFolderError, type Artifact } from './run-folder';
export { type Progress, type RunOptions } from './context';
