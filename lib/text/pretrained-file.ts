import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PareError } from '../errors';

/** A tokenizer's or template's file is missing or damaged, or a text cannot be handled. */
export class TokenizerError extends PareError {}

/** The text of a file of a checkpoint folder, or undefined if it is not there. */
export function readOptional(dir: string, file: string): string | undefined {
  try {
    return readFileSync(join(dir, file), 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new TokenizerError(`cannot read ${join(dir, file)}: ${message}`, { cause });
  }
}

/**
 * The object in a JSON file of a checkpoint folder, or undefined if the file is not there.
 * @throws TokenizerError if it is not JSON or not an object
 */
export function readOptionalJson(dir: string, file: string): Record<string, unknown> | undefined {
  const text = readOptional(dir, file);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged(dir, file, (cause as Error).message, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw damaged(dir, file, 'it holds no object');
  }
  return value as Record<string, unknown>;
}

/**
 * As {@link readOptionalJson} for a file that must be there.
 * @throws TokenizerError if it is missing or damaged
 */
export function readJson(dir: string, file: string): Record<string, unknown> {
  const value = readOptionalJson(dir, file);
  if (value) return value;
  throw new TokenizerError(
    `${join(dir, file)} is missing; give a checkpoint folder that has its tokenizer's files`,
  );
}

/** The error for a file that is there but of no use. */
export function damaged(
  dir: string,
  file: string,
  reason: string,
  cause?: unknown,
): TokenizerError {
  return new TokenizerError(
    `${join(dir, file)} is damaged (${reason}); copy it from the checkpoint again`,
    { cause },
  );
}
