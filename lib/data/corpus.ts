import { existsSync, readFileSync } from 'node:fs';
import { isAbsolute, join, normalize, sep } from 'node:path';
import { z } from 'zod';
import { fileError } from '../files';
import { CorpusError } from './error';

const nonEmpty = z.string().refine((text) => text.trim() !== '', 'must not be empty');

const utteranceSchema = z.object({
  /** Unique in the corpus. */
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

/** One line of a split. */
export type Utterance = z.infer<typeof utteranceSchema>;

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

/** The content of `corpus.json`. */
export type CorpusDescription = z.infer<typeof descriptionSchema>;

/** A corpus on disk: `corpus.json`, and one `<split>.jsonl` of utterances for each split. */
export interface Corpus {
  /** Absolute or as given to {@link openCorpus}. */
  dir: string;
  description: CorpusDescription;
  /**
   * All utterances of a split, in order.
   * @throws CorpusError naming file and line: no such split, not JSON, a field missing, an empty
   * reference, a missing sound file, an id twice, a count other than `corpus.json` says.
   */
  read(split: string): Utterance[];
  /** Where an utterance's sound is. */
  audioPath(utterance: Utterance): string;
}

/**
 * Opens a corpus folder.
 * @throws CorpusError if `corpus.json` is missing or does not describe a corpus
 */
export function openCorpus(dir: string): Corpus {
  const path = join(dir, 'corpus.json');
  if (!existsSync(path)) {
    throw new CorpusError(`${path} does not exist; is ${dir} the folder of a corpus?`);
  }
  const parsed = descriptionSchema.safeParse(parseJson(readText(path), path));
  if (!parsed.success) throw new CorpusError(`${path}: ${firstIssue(parsed.error)}`);
  const description = parsed.data;
  const audioPath = (utterance: Utterance): string => join(dir, utterance.audio);
  return {
    dir,
    description,
    audioPath,
    read: (split) => readSplit(dir, split, description, audioPath),
  };
}

function readSplit(
  dir: string,
  split: string,
  description: CorpusDescription,
  audioPath: (utterance: Utterance) => string,
): Utterance[] {
  const expected = description.splits[split];
  if (!expected) {
    const known = Object.keys(description.splits).join(', ');
    throw new CorpusError(`${dir} has no split '${split}'; it has ${known}`);
  }
  const path = join(dir, `${split}.jsonl`);
  if (!existsSync(path)) {
    throw new CorpusError(
      `${path} does not exist, but corpus.json names the split; make the corpus again`,
    );
  }
  const lineOf = new Map<string, number>();
  const utterances: Utterance[] = [];
  readText(path)
    .split('\n')
    .forEach((line, i) => {
      if (line.trim() === '') return;
      const where = `${path} line ${i + 1}`;
      const parsed = utteranceSchema.safeParse(parseJson(line, where));
      if (!parsed.success) throw new CorpusError(`${where}: ${firstIssue(parsed.error)}`);
      const utterance = parsed.data;
      checkUtterance(utterance, where, description);
      const before = lineOf.get(utterance.id);
      if (before !== undefined) {
        throw new CorpusError(`${where}: id '${utterance.id}' was used on line ${before} already`);
      }
      lineOf.set(utterance.id, i + 1);
      if (!existsSync(audioPath(utterance))) {
        throw new CorpusError(
          `${where}: ${audioPath(utterance)} does not exist; restore the file or make the corpus again`,
        );
      }
      utterances.push(utterance);
    });
  if (utterances.length !== expected.utterances) {
    throw new CorpusError(
      `${path} has ${utterances.length} utterances, corpus.json says ${expected.utterances}; make the corpus again`,
    );
  }
  return utterances;
}

/** What the schema does not see: the references asked for, and a path that stays in the folder. */
function checkUtterance(utterance: Utterance, where: string, description: CorpusDescription): void {
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
