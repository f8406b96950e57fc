/** Recipes: the YAML file that a run follows. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse, parseDocument, type Document } from 'yaml';
import { PareError } from '../errors';
import { fileError } from '../files';
import { parseHubName } from '../hub';
import { describeIssue } from './recipe-issue';
import { recipeSchema, type Recipe } from './recipe-schema';

/** A recipe that cannot be followed. */
export class RecipeError extends PareError {}

/** A change to a recipe that makes no sense, such as one given on the command line. */
export class SettingError extends RecipeError {}

/** One key of a recipe with its new value. */
export interface Setting {
  /** Its parts, as of `importance.remove`. */
  key: string;
  /** Undefined leaves the key out. */
  value: unknown;
  /** As the person wrote it. */
  text: string;
  /** A key that is left out may be missing already. */
  orMissing?: boolean;
}

/**
 * Checks a recipe's text.
 * @throws RecipeError naming file and key: not YAML, a key missing, unknown or of a wrong type
 */
export function parseRecipe(text: string, where: string): Recipe {
  const document = parseDocument(text);
  let value: unknown;
  try {
    const broken = document.errors[0];
    if (broken !== undefined) throw broken;
    value = document.toJS();
  } catch (cause) {
    throw new RecipeError(`${where}: not valid YAML: ${firstLine(cause)}`, { cause });
  }
  const result = recipeSchema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  throw new RecipeError(`${where}: ${describeIssue(result.error)}; see recipes/ for examples`);
}

/** YAML's messages go on with the place in the text, after a colon. */
function firstLine(error: unknown): string {
  const line = (error as Error).message.split('\n')[0]!.replace(/:\s*$/, '');
  return line.replace('Maximum call stack size exceeded', 'nested too deep');
}

/**
 * Reads `importance.remove=8`; nothing behind the sign leaves the key out.
 * @throws SettingError naming the recipe
 */
export function parseSetting(text: string, where: string): Setting {
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined) {
    throw new SettingError(
      `${where}: '${text}' sets nothing; give key=value, such as importance.remove=8`,
    );
  }
  if (value === '') return { key, value: undefined, text };
  try {
    return { key, value: parse(value!, { logLevel: 'error' }) as unknown, text };
  } catch (cause) {
    throw new SettingError(`${where}: cannot set ${text}: ${firstLine(cause)}`, { cause });
  }
}

/** The recipe's text with other values in place of what it says there. */
function override(text: string, settings: readonly Setting[], where: string): string {
  const document = parseDocument(text);
  // What is no YAML stays as it is: `parseRecipe` says so.
  if (settings.length === 0 || document.errors.length > 0) return text;
  let changed = text;
  for (const setting of settings) {
    try {
      apply(document, setting);
      changed = document.toString();
    } catch (cause) {
      throw new SettingError(`${where}: cannot set ${setting.text}: ${firstLine(cause)}`, {
        cause,
      });
    }
  }
  return changed;
}

function apply(document: Document, { key, value, orMissing }: Setting): void {
  const keys = key.split('.');
  if (value !== undefined) document.setIn(keys, document.createNode(value));
  else if (!(orMissing && !document.hasIn(keys)) && !document.deleteIn(keys)) {
    throw new Error(`there is no ${key} to leave out`);
  }
}

/**
 * Reads and checks a recipe; paths to what it reads are taken from its own folder.
 * @param set what to change in it, as `importance.remove=8`, or already read; nothing behind the sign
 * leaves the key out
 * @throws RecipeError, FileError
 */
export function readRecipe(
  file: string,
  set: readonly (string | Setting)[] = [],
): { recipe: Recipe; yaml: string } {
  let yaml: string;
  try {
    yaml = readFileSync(file, 'utf8');
  } catch (error) {
    throw fileError('read', file, error);
  }
  const settings = set.map((one) => (typeof one === 'string' ? parseSetting(one, file) : one));
  const changed = override(yaml, settings, file);
  try {
    return { recipe: absolute(parseRecipe(changed, file), dirname(file)), yaml: changed };
  } catch (error) {
    if (changed === yaml || !isRecipe(yaml, file)) throw error;
    const texts = settings.map(({ text }) => text).join(' ');
    throw new SettingError(`${(error as Error).message} (with ${texts})`, { cause: error });
  }
}

/** Whether a text is sound by itself: then what is wrong came with the settings. */
function isRecipe(text: string, where: string): boolean {
  try {
    parseRecipe(text, where);
    return true;
  } catch {
    return false;
  }
}

function absolute(recipe: Recipe, dir: string): Recipe {
  const at = (value: string | undefined): string | undefined =>
    value === undefined ? undefined : resolve(dir, value);
  const { corpus, teacher, distill } = recipe;
  // What looks like a name on the hub is one, unless there is such a folder.
  const folderOrHubName = (value: string | undefined): string | undefined =>
    value !== undefined && parseHubName(value) !== undefined && !existsSync(at(value)!)
      ? value
      : at(value);
  const { checkpoint, log, madeBy } = teacher;
  return {
    ...recipe,
    corpus: { ...corpus, path: at(corpus.path) },
    teacher: {
      ...teacher,
      checkpoint: folderOrHubName(checkpoint),
      log: at(log),
      madeBy: at(madeBy),
    },
    distill: distill && {
      ...distill,
      extra: distill.extra?.map((extra) => ({ ...extra, path: at(extra.path) })),
    },
  };
}
