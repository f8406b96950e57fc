export { runRecipe, type RunResult } from './run';
export { parseRecipe, readRecipe, RecipeError, type Recipe } from './recipe';
export { RunFolder, RunFolderError, type Artifact } from './run-folder';
export { type Progress, type RunOptions } from './context';
