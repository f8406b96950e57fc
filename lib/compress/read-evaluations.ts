/** What models made of test sets, as a run or `evaluate --json` left it. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { fileError } from '../files';
import { CompressionError } from './error';

/** A model's texts for one test set in one language. */
export interface EvaluatedTexts {
  testSet: string;
  /** Two-letter code. */
  language: string;
  texts: string[];
  /** One a text. */
  references: string[];
}

const evaluationFile = 'evaluation.json';

const evaluation = z.object({
  language: z.string(),
  texts: z.array(z.string()),
  references: z.array(z.string()),
});
/** A line of `evaluate --json`. */
const line = evaluation.extend({ split: z.string() });
/** What a run keeps of one model, by test set. */
const file = z.record(z.string(), z.array(evaluation));

/**
 * Reads a run folder (the model it hands over), one of its `evaluation-…` folders, the
 * `evaluation.json` there, or what `pare evaluate --json` printed.
 * @throws CompressionError if it is none of these; FileError if it cannot be read.
 */
export function readEvaluations(path: string): EvaluatedTexts[] {
  const found = locate(path);
  const texts = parse(found);
  for (const [i, { testSet, language }] of texts.entries()) {
    const twin = texts.findIndex((t) => t.testSet === testSet && t.language === language);
    if (twin === i) continue;
    throw new CompressionError(`${found} has ${testSet} in ${language} twice; give one of them`);
  }
  return texts;
}

/** The file that is meant by a path. */
function locate(path: string): string {
  try {
    if (!statSync(path).isDirectory()) return path;
  } catch (error) {
    throw fileError('read', path, error);
  }
  const own = join(path, evaluationFile);
  if (existsSync(own)) return own;
  const folders = readdirSync(path).filter((name) => existsSync(join(path, name, evaluationFile)));
  if (folders.length === 0) {
    throw new CompressionError(
      `${path} holds no evaluation; give a run folder, one of its evaluation folders, or what ` +
        'pare evaluate --json printed',
    );
  }
  const student = studentOf(path);
  if (student === undefined || !folders.includes(student)) {
    throw new CompressionError(
      `${path} does not say which model it hands over, since the run has not ended; give one of ` +
        folders.map((name) => join(path, name)).join(', '),
    );
  }
  return join(path, student, evaluationFile);
}

/** The evaluation folder of the last model in a run's report. */
function studentOf(runFolder: string): string | undefined {
  const path = join(runFolder, 'report.json');
  if (!existsSync(path)) return undefined;
  const report = z.object({ models: z.array(z.object({ name: z.string() })) });
  const { data } = report.safeParse(json(path, readFileSync(path, 'utf8')));
  const last = data?.models.at(-1);
  return last && `evaluation-${last.name}`;
}

function parse(path: string): EvaluatedTexts[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('read', path, error);
  }
  const values = text
    .split('\n')
    .filter((row) => row.trim() !== '')
    .map((row) => json(path, row));
  // evaluate --json prints an object a line, each with its split; a run's file is one without.
  const [first] = values as ({ split?: unknown } | null)[];
  if (values.length === 1 && typeof first?.split !== 'string') {
    return Object.entries(check(path, file, first)).flatMap(([testSet, evaluations]) =>
      evaluations.map((each) => checked(path, { ...each, testSet })),
    );
  }
  return values.map((value) => {
    const { split, ...rest } = check(path, line, value);
    return checked(path, { ...rest, testSet: split });
  });
}

function json(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CompressionError(
      `${path} is not the output of pare evaluate --json; for plain text give --references`,
      { cause },
    );
  }
}

function check<T>(path: string, schema: z.ZodType<T>, value: unknown): T {
  const { data, error } = schema.safeParse(value);
  if (data !== undefined) return data;
  const [issue] = error!.issues;
  const key = issue!.path.join('.');
  throw new CompressionError(
    `${path} holds no texts to compare (${key === '' ? '' : `${key}: `}${issue!.message}); ` +
      'evaluate the model again with this version of pare',
  );
}

function checked(path: string, texts: EvaluatedTexts): EvaluatedTexts {
  if (texts.texts.length === texts.references.length) return texts;
  throw new CompressionError(
    `${path} is damaged: ${texts.testSet} in ${texts.language} has ${texts.texts.length} texts ` +
      `but ${texts.references.length} references; evaluate again`,
  );
}
