import {
  bytes,
  fixed,
  integer,
  interval,
  metrics,
  missing,
  percent,
  pValue,
  ratio,
} from './format';
import { conditions, evaluationOf, teacherOf } from './select';
import type { ModelResult, ReportData, ReportLanguage, ReportTestSet } from './types';

const width = 120;
/** Widths of the columns: name, teacher, student, what is kept. */
const columns = [24, 26, 26, 38] as const;
const gap = '  ';

/** Columns a character takes in a terminal: two for the wide forms of East Asia, none for marks. */
function characterWidth(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (/\p{M}/u.test(character) || code === 0x200b || code === 0x200d || code === 0xfeff) return 0;
  const wide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf && code !== 0x303f) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0xffe0 && code <= 0xffe6) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd);
  return wide ? 2 : 1;
}

/** Columns a text takes in a terminal. */
export function displayWidth(text: string): number {
  return [...text].reduce((sum, character) => sum + characterWidth(character), 0);
}

/** Without what would move the cursor, cut to `limit` columns. */
function fit(text: string, limit: number): string {
  const clean = text.replace(/\p{Cc}+/gu, ' ');
  if (displayWidth(clean) <= limit) return clean;
  let result = '';
  let used = 0;
  for (const character of clean) {
    used += characterWidth(character);
    if (used > limit - 1) break;
    result += character;
  }
  return `${result}…`;
}

function row(name: string, ...cells: readonly string[]): string {
  const left = fit(name, columns[0]);
  const rest = cells.map((cell, i) => {
    const text = fit(cell, columns[i + 1] ?? columns[3]);
    return ' '.repeat(Math.max(0, (columns[i + 1] ?? columns[3]) - displayWidth(text))) + text;
  });
  return [left + ' '.repeat(columns[0] - displayWidth(left)), ...rest].join(gap).trimEnd();
}

function sizeRows(teacher: ModelResult | undefined, student: ModelResult | undefined): string[] {
  const [a, b] = [teacher?.size, student?.size];
  const both = (
    name: string,
    of: (size: ModelResult['size']) => number,
    format: (value: number | undefined) => string,
  ): string => {
    const [x, y] = [a && of(a), b && of(b)];
    return row(name, format(x), format(y), percent(ratio(y, x)));
  };
  return [
    both('decoder layers', (size) => size.decoderLayers, integer),
    both('logical parameters', (size) => size.parameters, integer),
    both('stored elements', (size) => size.storedElements, integer),
    both(
      'bytes on disk',
      (size) => size.bytes,
      (value) => `${integer(value)} (${bytes(value)})`,
    ),
    row('stored as', a?.storage ?? missing, b?.storage ?? missing),
  ];
}

function scoreRows(
  data: ReportData,
  teacher: ModelResult | undefined,
  student: ModelResult | undefined,
  language: ReportLanguage,
  testSet: ReportTestSet,
): string[] {
  const a = evaluationOf(teacher, language, testSet);
  const b = evaluationOf(student, language, testSet);
  const constant = data.constantAnswers.find(
    (c) => c.language === language.code && c.testSet === testSet.id,
  );
  const segments = (b ?? a)?.segments;
  const name = `${language.name}, ${testSet.name} (${testSet.id}, ${integer(segments)} segments)`;
  return [
    '',
    fit(name, width),
    ...metrics.map(({ name: metric, label, unit }) => {
      const [x, y] = [a?.scores[metric], b?.scores[metric]];
      const score = (s: typeof x): string =>
        s ? `${fixed(s.value, 1)} ${interval(s.interval)}`.trimEnd() : missing;
      const versus = y?.versusTeacher;
      const kept = versus
        ? [percent(versus.retention), interval(versus.interval, 100), pValue(versus.pValue)]
        : [missing];
      const title = unit ? `${label.toLowerCase()}, ${unit}` : label;
      return row(`  ${title}`, score(x), score(y), kept.filter(Boolean).join('  '));
    }),
    row(
      '  tokens per second',
      fixed(a?.tokensPerSecond, 1),
      fixed(b?.tokensPerSecond, 1),
      // No share: the two were timed on different occasions, with who knows what beside.
      missing,
    ),
    ...(constant
      ? [
          fit(
            `  a constant answer has chrF ${fixed(constant.scores.chrf?.value, 1)}, exact match ${fixed(
              constant.scores.exact_match?.value,
              1,
            )} %`,
            width,
          ),
        ]
      : []),
  ];
}

/** What each step did, on the main test set: a line a model, in the order of the chain. */
function stepLines(data: ReportData): string[] {
  const [testSet] = data.testSets;
  if (testSet === undefined || data.models.length < 3) return [];
  const cell = (text: string, columnsOfCell: number): string => {
    const fitted = fit(text, columnsOfCell);
    return ' '.repeat(Math.max(0, columnsOfCell - displayWidth(fitted))) + fitted;
  };
  const line = (name: string, cells: readonly string[]): string => {
    const left = fit(name, 18);
    return left + ' '.repeat(18 - displayWidth(left)) + cells.map((c) => cell(c, 14)).join('');
  };
  const { languages } = data;
  const heads = languages.slice(0, 2).flatMap(({ name }) => [`chrF ${name}`, `EM % ${name}`]);
  return [
    '',
    fit(`Step by step, on ${testSet.name} (${testSet.id})`, width),
    line('', ['layers', 'bytes', ...heads]),
    ...data.models.map((model) =>
      line(model.name, [
        integer(model.size.decoderLayers),
        bytes(model.size.bytes),
        ...languages.slice(0, 2).flatMap((language) => {
          const scores = evaluationOf(model, language, testSet)?.scores;
          return [fixed(scores?.chrf?.value, 1), fixed(scores?.exact_match?.value, 1)];
        }),
      ]),
    ),
    '─'.repeat(width),
  ];
}

/**
 * The end of a run, for a terminal of 120 columns: teacher against student, sizes first, then a
 * block for each language and test set. Several students (one for each language) come one after
 * another. Scores and what is kept carry 95 % intervals.
 */
export function renderTable(data: ReportData): string {
  const teacher = teacherOf(data);
  const students = data.models.filter(({ role }) => role === 'student');
  const lines: string[] = [fit(`${data.title} (recipe ${data.recipe.name}, ${data.date})`, width)];
  for (const student of students.length > 0 ? students : [undefined]) {
    const evaluated = conditions(data).filter(({ language, testSet }) =>
      evaluationOf(student ?? teacher, language, testSet),
    );
    lines.push(
      '',
      row(
        '',
        teacher?.name ?? 'no teacher',
        student?.name ?? 'no student',
        'retention (student / teacher)',
      ),
      '─'.repeat(width),
      ...sizeRows(teacher, student),
      ...evaluated.flatMap(({ language, testSet }) =>
        scoreRows(data, teacher, student, language, testSet),
      ),
      '─'.repeat(width),
    );
  }
  lines.push(...stepLines(data));
  lines.push('[ ] 95 % bootstrap interval; p: paired bootstrap against the teacher');
  return `${lines.join('\n')}\n`;
}
