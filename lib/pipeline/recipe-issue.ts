/** What is wrong with a recipe, in people's words: the schema library's are for programmers. */
import type { z } from 'zod';
import { nearName } from '../near-name';
import { recipeJsonSchema } from './recipe-schema';

type Issue = z.core.$ZodIssue;

/** The most telling of a recipe's issues: `heal.learningRate: must be above 0, not 0`. */
export function describeIssue({ issues }: z.ZodError): string {
  // A mistyped key is also a missing one: the former says what to do.
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!;
  const at = issue.path.map(String).join('.');
  return `${at === '' ? '' : `${at}: `}${reason(issue)}`;
}

function reason(issue: Issue): string {
  const given = `not ${shown(issue.input)}`;
  switch (issue.code) {
    case 'unrecognized_keys':
      return unknownKey(issue.keys[0]!, issue.path);
    case 'invalid_type':
      if (issue.input === undefined) return `is missing; give ${kindOf(issue.expected)}`;
      return `must be ${kindOf(issue.expected)}, ${given}`;
    case 'invalid_value': {
      const values = issue.values.map((value) => JSON.stringify(value));
      const choice = values.length === 1 ? values[0]! : `one of ${values.join(', ')}`;
      return issue.input === undefined
        ? `is missing; give ${choice}`
        : `must be ${choice}, ${given}`;
    }
    case 'too_small':
      if (issue.origin === 'string') return 'must not be empty';
      if (issue.origin === 'array') return `must have at least ${entries(issue.minimum)}`;
      return `must be ${issue.inclusive ? 'at least' : 'above'} ${issue.minimum}, ${given}`;
    case 'too_big':
      if (issue.origin === 'array') return `must have at most ${entries(issue.maximum)}`;
      return `must be ${issue.inclusive ? 'at most' : 'below'} ${issue.maximum}, ${given}`;
    default:
      return issue.message;
  }
}

const kinds: Record<string, string> = {
  number: 'a number',
  int: 'a whole number',
  string: 'a text',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  record: 'keys with values',
  object: 'keys with values',
};

function kindOf(expected: string): string {
  return kinds[expected] ?? `of the type ${expected}`;
}

function entries(number: number | bigint): string {
  return number === 1 ? 'one entry' : `${number} entries`;
}

function shown(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'keys with values';
  // NaN is no JSON.
  return typeof value === 'number' ? String(value) : JSON.stringify(value);
}

function unknownKey(key: string, path: readonly PropertyKey[]): string {
  const known = keysAt(path);
  const near = nearName(key, known);
  const hint = near === undefined ? `; known are ${known.join(', ')}` : `; did you mean "${near}"?`;
  return `unknown key "${key}"${hint}`;
}

interface JsonSchema {
  properties?: Record<string, JsonSchema>;
  items?: JsonSchema;
}

function keysAt(path: readonly PropertyKey[]): string[] {
  let schema: JsonSchema | undefined = recipeJsonSchema() as JsonSchema;
  for (const key of path) schema = schema?.properties?.[String(key)] ?? schema?.items;
  return Object.keys(schema?.properties ?? {});
}
