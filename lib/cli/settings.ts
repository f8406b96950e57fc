import { UsageError } from './arguments';

/** Runs what reads a recipe: what is wrong with a setting is wrong with the command line. */
export async function settingsAsUsage<T>(action: () => T | Promise<T>): Promise<T> {
  const { SettingError } = await import('../pipeline/recipe');
  try {
    return await action();
  } catch (error) {
    if (error instanceof SettingError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}
