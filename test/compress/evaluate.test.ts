/** Scores, comparisons and the constant answer against the metrics called by hand. */
import {
  compareToTeacher,
  CompressionError,
  constantAnswer,
  evaluateModel,
  metricKeys,
  references,
  scoreTranslations,
  translateSplit,
} from '../../lib/compress';
import {
  bleu,
  bootstrapInterval,
  chrf,
  createMetric,
  exactMatch,
  MetricError,
  pairedBootstrap,
  retention,
} from '../../lib/metrics';
import { memory } from '../../lib/torch';
import { languages, tinyTask, type TinyTask } from './tiny-task';

jest.setTimeout(300_000);
const refs = [
  'rot und blau und weiß',
  'weiß und gelb und rot',
  'grün und rot und gelb',
  'blau und schwarz und rot',
];
const teacher = refs.map((text, i) => (i === 2 ? 'grün und grün und gelb' : text));
const student = [refs[0]!, 'weiß und gelb', teacher[2]!, 'blau und blau und rot'];
const options = { samples: 200, seed: 9 };

test('scores are those of the metrics, with their intervals and signatures', () => {
  const scores = scoreTranslations(student, refs, 'de', options);
  expect(Object.keys(scores)).toEqual([...metricKeys]);
  expect(scores.bleu.score).toBe(bleu(student, refs).score);
  expect(scores.chrf.score).toBe(chrf(student, refs).score);
  expect(scores['chrf++'].score).toBe(chrf(student, refs, { wordOrder: 2 }).score);
  expect(scores.exact_match.score).toBe(exactMatch(student, refs).score);
  expect(scores.exact_match.score).toBe(25);
  for (const key of metricKeys) {
    const interval = bootstrapInterval(createMetric(key), student, refs, options);
    const { score, low, high, signature } = interval;
    expect(scores[key]).toEqual({ score, low, high, signature });
    expect(signature).toMatch(/\|bs:\d+\|seed:\d+/);
    expect(low).toBeLessThan(high);
  }
});

test('Chinese BLEU is of characters', () => {
  const [hypotheses, answers] = [
    ['红和蓝和白', '白和黄和绿'],
    ['红和蓝和绿', '白和黄和绿'],
  ];
  const { bleu: zh } = scoreTranslations(hypotheses, answers, 'zh', options);
  expect(zh.score).toBe(bleu(hypotheses, answers, { tokenize: 'zh' }).score);
  expect(zh.signature).toContain('tok:zh');
  const { bleu: de } = scoreTranslations(hypotheses, answers, 'de', options);
  expect(de.signature).toContain('tok:13a');
  expect(de.score).not.toBe(zh.score);
});

test('a comparison is student over teacher as a fraction, and the paired p-value', () => {
  const compared = compareToTeacher(student, teacher, refs, 'de', options);
  expect(compared.exact_match.retention).toBeCloseTo(25 / 75, 12);
  const metric = createMetric('chrf');
  const kept = retention(metric, student, teacher, refs, options);
  expect(compared.chrf).toEqual({
    retention: kept.retention! / 100,
    low: kept.low! / 100,
    high: kept.high! / 100,
    pValue: pairedBootstrap(metric, teacher, student, refs, options).pValue,
  });
  const same = compareToTeacher(teacher, teacher, refs, 'de', options);
  for (const key of metricKeys) expect(same[key]).toMatchObject({ retention: 1, pValue: 1 });
});

test('there is no retention of a teacher that scores 0', () => {
  const compared = compareToTeacher(
    student,
    refs.map(() => 'nichts'),
    refs,
    'de',
    options,
  );
  expect(compared.exact_match).toEqual({ pValue: expect.any(Number) as number });
});

test('the constant answer is the most frequent, of equal ones the first', () => {
  expect(constantAnswer(['a', 'b', 'b', 'c', 'c'])).toBe('b');
  expect(constantAnswer(['a'])).toBe('a');
});

describe('with a model', () => {
  let task: TinyTask;
  beforeAll(async () => {
    task = await tinyTask();
  });
  afterAll(() => task.dispose());

  test('an evaluation is the translations and their scores, by language', async () => {
    const model = task.newModel(2);
    const { test: utterances } = task.splits;
    const translation = { maxNewTokens: 6, batchSize: 4 };
    const before = memory();
    const results = await evaluateModel(model, task.features, utterances, languages, {
      ...translation,
      ...options,
    });
    expect(memory()).toEqual(before);
    expect(results.map(({ language }) => language)).toEqual(languages);
    for (const result of results) {
      const { language, segments, ids, texts, scores, tokensPerSecond } = result;
      const translated = await translateSplit(
        model,
        task.features,
        utterances,
        language,
        translation,
      );
      expect(texts).toEqual(translated.texts);
      expect(segments).toBe(6);
      const expected = references(utterances, language);
      expect(ids).toEqual(utterances.map(({ id }) => id));
      expect(result.references).toEqual(expected);
      expect(scores).toEqual(scoreTranslations(texts, expected, language, options));
      expect(tokensPerSecond).toBeGreaterThan(0);
    }
    model.dispose();
  });

  test('translations come in the order of the utterances, with what was generated', async () => {
    const model = task.newModel(2);
    const { test: utterances } = task.splits;
    const progress: [number, number][] = [];
    const all = await translateSplit(model, task.features, utterances, 'de', {
      maxNewTokens: 5,
      batchSize: 4,
      onProgress: (done, total) => progress.push([done, total]),
    });
    expect(progress).toEqual([
      [0, 6],
      [4, 6],
      [6, 6],
    ]);
    expect(all.generatedTokens).toBe(all.tokenIds.flat().length);
    const { eosTokenIds } = model.config;
    for (const [i, utterance] of utterances.entries()) {
      const one = await translateSplit(model, task.features, [utterance], 'de', {
        maxNewTokens: 5,
        batchSize: 1,
      });
      expect(one.tokenIds[0]).toEqual(all.tokenIds[i]);
      expect(all.finished[i]).toBe(eosTokenIds.includes(all.tokenIds[i]!.at(-1)!));
    }
    model.dispose();
  });

  test('a missing reference and an empty split are errors that say so', async () => {
    expect(() => references(task.splits.dev, 'fr')).toThrow(CompressionError);
    expect(() => references(task.splits.dev, 'fr')).toThrow(
      /has no reference in fr; it has de, zh/,
    );
    const model = task.newModel(2);
    const none = evaluateModel(model, task.features, [], ['de'], { maxNewTokens: 2, batchSize: 2 });
    await expect(none).rejects.toThrow(MetricError);
    model.dispose();
  });
});
