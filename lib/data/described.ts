/** A corpus that describes itself: `corpus.json`, and one `<split>.jsonl` for each split. */
import { existsSync, readFileSync } from 'node:fs';
import { isAbsolute, join, normalize, sep } from 'node:path';
import { z } from 'zod';
import { PareError } from '../errors';
import { fileError } from '../files';
import type { Corpus, CorpusDescription, ReadOptions, Utterance } from './corpus';
import { CorpusError, unknownSplit } from './error';

const nonEmpty = z.string().refine((text) => text.trim() !== '', 'must not be empty');

const utteranceSchema = z.object({
  /** Unique in its split. */
  id: nonEmpty,
  /** Path of the sound file, relative to the corpus. */
  audio: nonEmpty,
  seconds: z.number().positive(),
  speaker: nonEmpty,
  /** What is said. */
  text: nonEmpty,
  /** References by target language, `de` or `zh`. */
  translations: z.record(z.string(), nonEmpty),
  /** What must lie whole in one split: a talk, or in the demo a combination. */
  group: nonEmpty,
});

type Line = z.infer<typeof utteranceSchema>;

const descriptionSchema = z.object({
  name: nonEmpty,
  version: nonEmpty,
  /** Hz, of all sound files. */
  sampleRate: z.number().int().positive(),
  languages: z.object({ source: nonEmpty, targets: z.array(nonEmpty).min(1) }),
  splits: z.record(
    z.string(),
    z.object({
      utterances: z.number().int().nonnegative(),
      seconds: z.number().nonnegative(),
      speakers: z.number().int().nonnegative(),
    }),
  ),
  /** How it was made, for a corpus that a program made. */
  generator: z.record(z.string(), z.unknown()).optional(),
});

type Description = z.infer<typeof descriptionSchema>;

/** @throws CorpusError if `corpus.json` does not describe a corpus */
export function openDescribed(dir: string): Corpus {
  const path = join(dir, 'corpus.json');
  const parsed = descriptionSchema.safeParse(parseJson(readText(path), path));
  if (!parsed.success) throw new CorpusError(`${path}: ${firstIssue(parsed.error)}`);
  const description = parsed.data;
  const pathOf = ({ audio }: Utterance): string => join(dir, audio);
  return {
    dir,
    description: description satisfies CorpusDescription,
    // Async, so that what is wrong rejects.
    read: async (split, options) => readSplit(dir, split, description, options),
    audio: (utterance) => Promise.resolve(pathOf(utterance)),
    audioName: pathOf,
    audioFiles: (utterances) => utterances.map(pathOf),
    blockOf: () => undefined,
  };
}

function readSplit(
  dir: string,
  split: string,
  description: Description,
  { onProblem }: ReadOptions = {},
): Utterance[] {
  const expected = description.splits[split];
  if (!expected) throw unknownSplit(dir, split, Object.keys(description.splits));
  const path = join(dir, `${split}.jsonl`);
  if (!existsSync(path)) {
    throw new CorpusError(
      `${path} does not exist, but corpus.json names the split; make the corpus again`,
    );
  }
  const lineOf = new Map<string, number>();
  const utterances: Utterance[] = [];
  let lines = 0;
  readText(path)
    .split('\n')
    .forEach((line, i) => {
      if (line.trim() === '') return;
      lines++;
      const where = `${path} line ${i + 1}`;
      try {
        const utterance = readLine(line, where, dir, description);
        const before = lineOf.get(utterance.id);
        if (before !== undefined) {
          throw new CorpusError(
            `${where}: id '${utterance.id}' was used on line ${before} already`,
          );
        }
        lineOf.set(utterance.id, i + 1);
        utterances.push(utterance);
      } catch (error) {
        if (onProblem === undefined || !(error instanceof PareError)) throw error;
        onProblem(error);
      }
    });
  if (lines !== expected.utterances) {
    const problem = new CorpusError(
      `${path} has ${lines} utterances, corpus.json says ${expected.utterances}; make the corpus again`,
    );
    if (onProblem === undefined) throw problem;
    onProblem(problem);
  }
  return utterances;
}

function readLine(text: string, where: string, dir: string, description: Description): Line {
  const parsed = utteranceSchema.safeParse(parseJson(text, where));
  if (!parsed.success) throw new CorpusError(`${where}: ${firstIssue(parsed.error)}`);
  checkUtterance(parsed.data, where, description);
  const path = join(dir, parsed.data.audio);
  if (existsSync(path)) return parsed.data;
  throw new CorpusError(
    `${where}: ${path} does not exist; restore the file or make the corpus again`,
  );
}

/** What the schema does not see: the references asked for, and a path that stays in the folder. */
function checkUtterance(utterance: Line, where: string, description: Description): void {
  for (const language of description.languages.targets) {
    if (utterance.translations[language] === undefined) {
      throw new CorpusError(
        `${where}: no reference in '${language}'; add translations.${language}`,
      );
    }
  }
  if (isAbsolute(utterance.audio) || normalize(utterance.audio).split(sep)[0] === '..') {
    throw new CorpusError(
      `${where}: audio '${utterance.audio}' lies outside the corpus; use a path relative to it`,
    );
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('read', path, error);
  }
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CorpusError(
      `${where} is not valid JSON: ${(error as Error).message}; write it anew`,
      {
        cause: error,
      },
    );
  }
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0]!;
  return `${issue.path.join('.') || 'value'}: ${issue.message}`;
}
