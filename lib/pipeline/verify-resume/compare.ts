/** Two run folders, file by file: what must be the same to the bit, and what may differ. */
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
} from 'node:fs';
import { basename, join, relative, sep } from 'node:path';

/**
 * What may differ, by file: measured times and memory, and what they are part of. The digests of
 * stage.json are of files that hold times; the files themselves are compared.
 */
const varying: Readonly<Record<string, readonly string[]>> = {
  'log.jsonl': ['seconds', 'tokensPerSecond', 'peakMemory', 'etaSeconds'],
  'evaluation.json': ['tokensPerSecond'],
  'stage.json': ['seconds', 'files'],
  'report.json': ['date', 'seconds', 'reused', 'tokensPerSecond'],
};

/** Drawn from report.json, its times included. */
const drawn = new Set(['report.html']);

export interface Comparison {
  files: number;
  /** Of the training log, if there is one. */
  steps?: number;
  /** Candidates of a search's trace, if there is one. */
  candidates?: number;
  bytes: number;
  /** The first one: file, place in it, and what is there. */
  difference?: string;
}

/** Compares a stage's artifact, or what lies beside the artifacts if `stage` is undefined. */
export function compareArtifacts(
  whole: string,
  other: string,
  stage: string | undefined,
): Comparison {
  const [a, b] = [filesOf(whole, stage), filesOf(other, stage)];
  const result: Comparison = { files: 0, bytes: 0 };
  // Losses and traces first: weights differ because of them.
  const rank = (path: string): number => Number(!path.endsWith('.jsonl'));
  const paths = [...new Set([...a, ...b])]
    .filter((path) => !drawn.has(path))
    .sort((x, y) => rank(x) - rank(y) || (x < y ? -1 : 1));
  for (const path of paths) {
    result.files++;
    const [left, right] = [join(whole, path), join(other, path)];
    if (existsSync(left)) {
      result.bytes += statSync(left).size;
      if (basename(path) === 'log.jsonl') result.steps = linesOf(left).length;
      if (basename(path) === 'trace.jsonl') result.candidates = linesOf(left).length;
    }
    const difference = !existsSync(right)
      ? 'is missing in the run that was killed'
      : !existsSync(left)
        ? 'was left by the run that was killed'
        : differenceOf(left, right);
    if (difference !== undefined) result.difference ??= `${path} ${difference}`;
  }
  return result;
}

function filesOf(run: string, stage: string | undefined): string[] {
  const dir = stage === undefined ? run : join(run, stage);
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true, recursive: stage !== undefined })
    .filter((entry) => entry.isFile() || (stage === undefined && entry.name.startsWith('.')))
    .map((entry) => relative(run, join(entry.parentPath, entry.name)).replaceAll(sep, '/'));
}

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').trimEnd().split('\n');

function differenceOf(left: string, right: string): string | undefined {
  const at = firstByte(left, right);
  if (at === undefined) return undefined;
  const name = basename(left);
  const bytes = `has other bytes from the ${at}th on`;
  if (!/\.jsonl?$/.test(name)) return bytes;
  const ignored = new Set(varying[name]);
  if (name.endsWith('.json')) {
    const [a, b] = [left, right].map((path) => parse(readFileSync(path, 'utf8')));
    return firstDifference(a, b, ignored) ?? (ignored.size > 0 ? undefined : bytes);
  }
  const [a, b] = [linesOf(left), linesOf(right)];
  for (const [i, line] of a.entries()) {
    if (b[i] === undefined) return `ends after line ${i}, not ${a.length}`;
    const difference = firstDifference(parse(line), parse(b[i]), ignored);
    if (difference !== undefined) return `line ${i + 1}: ${difference}`;
  }
  if (b.length > a.length) return `has ${b.length} lines, not ${a.length}`;
  return ignored.size > 0 ? undefined : bytes;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The first value that differs, with its place: `models.0.size: 3, not 4`. */
function firstDifference(
  a: unknown,
  b: unknown,
  ignored: ReadonlySet<string>,
  place: string = '',
): string | undefined {
  if (!isObject(a) || !isObject(b)) {
    if (Object.is(a, b)) return undefined;
    const where = place === '' ? 'it holds' : `${place} is`;
    return `${where} ${shown(b)}, not ${shown(a)}`;
  }
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (ignored.has(key)) continue;
    const inside = place === '' ? key : `${place}.${key}`;
    const difference = firstDifference(a[key], b[key], ignored, inside);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function shown(value: unknown): string {
  const text = value === undefined ? 'missing' : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** The number, from 1, of the first byte in which two files differ. */
function firstByte(left: string, right: string): number | undefined {
  const files = [left, right].map((path) => openSync(path, 'r'));
  const parts = files.map(() => Buffer.allocUnsafe(1 << 22));
  try {
    for (let at = 0; ;) {
      const [a, b] = files.map((file, i) => parts[i]!.subarray(0, readSync(file, parts[i]!)));
      if (!a!.equals(b!)) {
        let i = 0;
        while (i < a!.length && i < b!.length && a![i] === b![i]) i++;
        return at + i + 1;
      }
      if (a!.length === 0) return undefined;
      at += a!.length;
    }
  } finally {
    for (const file of files) closeSync(file);
  }
}
