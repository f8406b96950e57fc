export { runRecipe, type RunResult } from './run';
export { parseRecipe, readRecipe, RecipeError, SettingError } from './recipe';
export { recipeJsonSchema, type Recipe } from './recipe-schema';
export { RunFolder, RunFolderError, type Artifact } from './run-folder';
export { type Progress, type RunOptions } from './context';
