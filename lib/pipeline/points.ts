/** The recipes that one recipe stands for: its variants, and the values of a sweep. */
import { createHash } from 'node:crypto';
import { parseSetting, readRecipe, SettingError, type Setting } from './recipe';
import type { Recipe } from './recipe-schema';

/** Which runs a recipe is to stand for. */
export interface PointOptions {
  /** Changes to all of them, as `readRecipe` takes them. */
  set?: readonly string[];
  /** Of the recipe's variants; all unless given. */
  variants?: readonly string[];
  /** Keys with the values that they take in turn: `importance.remove=8,10,12`. */
  sweep?: readonly string[];
}

/** One of the runs. */
export interface SweepPoint {
  /** Of its folder, too: `b`, `importance.remove=8`, `b,importance.remove=8`. */
  name: string;
  recipe: Recipe;
  yaml: string;
  /** What makes the recipe of the file. */
  settings: readonly Setting[];
}

/**
 * The runs that a recipe's variants and a sweep ask for, each with each.
 * @throws RecipeError as `readRecipe`; SettingError for a variant that the recipe does not have
 */
export function readPoints(file: string, options: PointOptions): SweepPoint[] {
  const { set = [], sweep = [] } = options;
  const base = readRecipe(file, set).recipe;
  const given = set.map((text) => parseSetting(text, file));
  const axes = [
    variantAxis(file, base, options.variants),
    ...sweep.map((text) => sweepAxis(text, file)),
  ].filter((axis) => axis.length > 0);
  let points: Alternative[] = [{ name: '', settings: [] }];
  for (const axis of axes) {
    points = points.flatMap((point) =>
      axis.map(({ name, settings }) => ({
        name: point.name === '' ? name : `${point.name},${name}`,
        settings: [...point.settings, ...settings],
      })),
    );
  }
  return points.map(({ name, settings }) => {
    // A recipe as it was run has no variants left.
    const alone: Setting[] =
      base.variants === undefined ? [] : [{ key: 'variants', value: undefined, text: 'variants=' }];
    const all = [...given, ...settings, ...alone];
    return { name: folderName(name), settings: all, ...readRecipe(file, all) };
  });
}

interface Alternative {
  name: string;
  settings: Setting[];
}

function variantAxis(
  file: string,
  { variants = {} }: Recipe,
  asked: readonly string[] = Object.keys(variants),
): Alternative[] {
  return asked.map((name) => {
    const changes = variants[name];
    if (changes === undefined) {
      const known = Object.keys(variants).join(', ');
      throw new SettingError(
        `${file}: there is no variant ${name}; ${known === '' ? 'it has none' : `it has ${known}`}`,
      );
    }
    const settings = Object.entries(changes).map(([key, value]) => ({
      key,
      value: value ?? undefined,
      text: `${key}=${value === null ? '' : JSON.stringify(value)}`,
    }));
    return { name, settings };
  });
}

/** `key=a,b`: what stands behind the sign are the entries of a YAML list. */
function sweepAxis(text: string, file: string): Alternative[] {
  const sign = text.indexOf('=');
  if (sign < 1) {
    throw new SettingError(
      `${file}: '${text}' sweeps nothing; give key=values, such as importance.remove=8,10,12`,
    );
  }
  const key = text.slice(0, sign);
  const { value } = parseSetting(`${key}=[${text.slice(sign + 1)}]`, file);
  const values = value as unknown[];
  if (values.length === 0) {
    throw new SettingError(
      `${file}: '${text}' has no values; give some, such as importance.remove=8,10,12`,
    );
  }
  return values.map((one) => {
    const shown = typeof one === 'string' ? one : JSON.stringify(one);
    const text = `${key}=${one === null ? '' : shown}`;
    const setting = { key, value: one ?? undefined, text, orMissing: true };
    return { name: setting.text, settings: [setting] };
  });
}

/** A name as it is where a folder can bear it. */
function folderName(name: string): string {
  const plain = name.replace(/[^\w.,=+-]/g, '_').slice(0, 80);
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 6);
  return plain === name ? name : `${plain}-${digest}`;
}
