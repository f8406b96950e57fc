import fc from 'fast-check';
import {
  bleu,
  bootstrapInterval,
  cer,
  Chrf,
  chrf,
  corpusScore,
  createMetric,
  createMetricFor,
  exactMatch,
  MetricError,
  type MetricName,
  metricNames,
  pairedApproximateRandomization,
  pairedBootstrap,
  retention,
  ter,
  wer,
} from '../../lib/metrics';

describe('exact match', () => {
  test('is the percentage of equal segments, whitespace at the ends aside', () => {
    const result = exactMatch([' yes\n', 'No', '', '\u3000好'], ['yes', 'no', 'x', '好\u001c']);
    expect(result).toEqual({
      name: 'exact_match',
      score: 50,
      signature: 'nrefs:1|case:mixed|trim:yes',
      matches: 2,
      segments: 4,
    });
  });

  test('can ignore case', () => {
    const result = exactMatch(['No', 'ja'], ['no', 'nein'], { lowercase: true });
    expect(result).toMatchObject({ score: 50, signature: 'nrefs:1|case:lc|trim:yes' });
  });
});

describe('createMetric', () => {
  const hypotheses = ['the cat sat here', 'a dog'];
  const references = ['the cat sits here', 'A dog'];

  test.each([
    ['bleu', bleu(hypotheses, references)],
    ['chrf', chrf(hypotheses, references)],
    ['chrf++', chrf(hypotheses, references, { wordOrder: 2 })],
    ['ter', ter(hypotheses, references)],
    ['wer', wer(hypotheses, references)],
    ['cer', cer(hypotheses, references)],
    ['exact_match', exactMatch(hypotheses, references)],
  ] as const)('makes %s', (name, expected) => {
    expect(corpusScore(createMetric(name), hypotheses, references)).toEqual(expected);
  });

  test('passes the options on', () => {
    expect(createMetric('bleu', { tokenize: 'zh' }).settings).toContain('|tok:zh|');
    expect(createMetric('chrf++', { lowercase: true }).settings).toContain('case:lc|');
    expect(createMetric('ter', { noPunct: true }).settings).toContain('|punct:no|');
    expect(createMetric('wer', { normalizer: 'basic' }).settings).toContain('|norm:basic');
  });

  test('takes the tokenizer from the target language unless one is given', () => {
    const tokenizer = (metric: { settings: string }): string | undefined =>
      /tok:(\w+)/.exec(metric.settings)?.[1];
    expect(tokenizer(createMetricFor('bleu', 'zh'))).toBe('zh');
    expect(tokenizer(createMetricFor('bleu', 'de'))).toBe('13a');
    expect(tokenizer(createMetricFor('bleu', 'zh-CN'))).toBe('zh');
    expect(tokenizer(createMetricFor('bleu', 'zh_Hant'))).toBe('zh');
    expect(tokenizer(createMetricFor('bleu', 'zha'))).toBe('13a');
    const options = { targetLanguage: 'zh', tokenize: 'intl' } as const;
    expect(tokenizer(createMetric('bleu', options))).toBe('intl');
    expect(createMetricFor('chrf', 'zh').settings).toBe(createMetric('chrf').settings);
  });

  test('refuses what it does not know', () => {
    expect(() => createMetric('comet' as MetricName)).toThrow(
      "unknown metric 'comet': use one of bleu, chrf, chrf++, ter, wer, cer, exact_match",
    );
    expect(() => createMetric('toString' as MetricName)).toThrow(MetricError);
    expect(() => createMetric('bleu', { tokenize: 'spm' as 'zh' })).toThrow(
      "unknown BLEU tokenizer 'spm': use one of 13a, char, intl, none, zh",
    );
    expect(() => new Chrf({ charOrder: 0 })).toThrow(MetricError);
    expect(() => new Chrf({ wordOrder: 1.5 })).toThrow(MetricError);
    expect(() => new Chrf({ beta: NaN })).toThrow(MetricError);
  });
});

describe.each(metricNames)('%s refuses', (name) => {
  const metric = createMetric(name);

  test.each([
    ['sets of different length', ['a', 'b'], ['a'], '2 hypotheses but 1 reference:'],
    ['an empty set', [], [], 'no segments to score'],
    ['an empty reference', ['a', 'b'], ['a', ''], 'segment 2: the reference is empty'],
    ['a blank reference', ['a', 'b'], [' \u3000\n', 'b'], 'segment 1: the reference is empty'],
    [
      'a missing hypothesis',
      ['a', undefined as unknown as string],
      ['a', 'b'],
      'segment 2: the hypothesis is not a string',
    ],
    ['an empty one of several', ['a'], [['a', ' ']], 'segment 1: reference 2 is empty'],
    ['no reference among several', ['a', 'b'], ['a', []], 'segment 2 has no reference'],
  ])('%s', (_what, hypotheses, references, message) => {
    const system = hypotheses.map(() => 'a');
    for (const score of [
      () => corpusScore(metric, hypotheses, references),
      () => bootstrapInterval(metric, hypotheses, references),
      () => pairedBootstrap(metric, system, hypotheses, references),
      () => pairedApproximateRandomization(metric, system, hypotheses, references),
      () => retention(metric, hypotheses, system, references),
    ]) {
      expect(score).toThrow(MetricError);
      expect(score).toThrow(message);
    }
  });

  test.each([
    ['no samples', { samples: 0 }],
    ['half a sample', { samples: 1.5 }],
    ['a negative seed', { seed: -1 }],
    ['a seed that is no number', { seed: NaN }],
    ['all confidence', { confidence: 1 }],
    ['no confidence', { confidence: NaN }],
  ])('%s', (_what, options) => {
    expect(() => bootstrapInterval(metric, ['a'], ['a'], options)).toThrow(MetricError);
    expect(() => retention(metric, ['a'], ['a'], ['a'], options)).toThrow(MetricError);
  });
});

describe('properties', () => {
  const text = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 40 }),
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc
      .array(fc.constantFrom('der', 'Hund', 'läuft', '3.', '10:30', '今天', '好。', '😀', '(x)'))
      .map((words) => words.join(' ')),
  );
  const reference = text.map((t) => `${t} end`);
  const pair = fc.tuple(text, reference);
  const corpus = fc.array(pair, { minLength: 1, maxLength: 8 });
  const options = { seed: 20250731, numRuns: 150 };
  const score = (name: MetricName, pairs: readonly (readonly [string, string])[]): number =>
    corpusScore(
      createMetric(name),
      pairs.map((p) => p[0]),
      pairs.map((p) => p[1]),
    ).score;

  const manyReferences = metricNames.filter((name) => name !== 'wer' && name !== 'cer');
  test.each(manyReferences)('%s does not change when a reference is given twice', (name) => {
    fc.assert(
      fc.property(corpus, (pairs) => {
        const metric = createMetric(name);
        for (const [h, r] of pairs) {
          expect(metric.statistics(h, [r, r])).toEqual(metric.statistics(h, [r]));
        }
      }),
      options,
    );
  });

  // BLEU and TER also depend on the lengths of the references, exact match and chrF do not.
  test.each(['chrf', 'chrf++', 'exact_match'] as const)(
    '%s of a segment is no worse with one more reference',
    (name) => {
      fc.assert(
        fc.property(text, reference, reference, (h, one, other) => {
          const metric = createMetric(name);
          const alone = corpusScore(metric, [h], [one]).score;
          const score = corpusScore(metric, [h], [[one, other]]).score;
          expect(score).toBeGreaterThanOrEqual(alone);
        }),
        options,
      );
    },
  );

  test('the edits of TER are at most those of one reference without shifts', () => {
    const words = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 20 });
    fc.assert(
      fc.property(words, words, (h, r) => {
        const [hypothesis, reference] = [h.join(' '), [...r, 'end'].join(' ')];
        const { edits } = ter([hypothesis], [reference]);
        const { substitutions, deletions, insertions } = wer([hypothesis], [reference]);
        expect(edits).toBeLessThanOrEqual(substitutions + deletions + insertions);
        expect(edits).toBeGreaterThanOrEqual(Math.abs(h.length - r.length - 1));
      }),
      options,
    );
  });

  describe.each(metricNames)('%s', (name) => {
    const { higherIsBetter } = createMetric(name);

    test('of the references themselves is the best there is', () => {
      // BLEU needs one segment of four words
      const references = fc.array(reference, { minLength: 1 }).map((r) => [...r, 'one two 3 four']);
      fc.assert(
        fc.property(references, (r) => {
          expect(
            score(
              name,
              r.map((t) => [t, t]),
            ),
          ).toBeCloseTo(higherIsBetter ? 100 : 0, 9);
        }),
        options,
      );
    });

    test('is at least 0, and at most 100 unless it is a rate of error', () => {
      fc.assert(
        fc.property(corpus, (pairs) => {
          const value = score(name, pairs);
          expect(value).toBeGreaterThanOrEqual(0);
          expect(value).toBeLessThanOrEqual(higherIsBetter ? 100 + 1e-9 : Infinity);
        }),
        options,
      );
    });

    test('does not depend on the order of the segments', () => {
      fc.assert(
        fc.property(corpus, (pairs) => {
          expect(score(name, [...pairs].reverse())).toBe(score(name, pairs));
        }),
        options,
      );
    });

    test('does not change when the corpus is doubled, smoothing aside', () => {
      fc.assert(
        fc.property(corpus, (pairs) => {
          const metric = createMetric(name);
          const once = pairs.map(([h, r]) => metric.statistics(h, [r]));
          const matched = once.reduce((total, s) => total.map((v, i) => v + s[i]!));
          fc.pre(name !== 'bleu' || matched.subarray(2, 6).every((count) => count > 0));
          expect(score(name, [...pairs, ...pairs])).toBeCloseTo(score(name, pairs), 9);
        }),
        { ...options, maxSkipsPerRun: 1000 },
      );
    });

    test('has an interval around its mean', () => {
      fc.assert(
        fc.property(corpus, fc.nat(), (pairs, seed) => {
          const [hypotheses, references] = [pairs.map((p) => p[0]), pairs.map((p) => p[1])];
          const result = bootstrapInterval(createMetric(name), hypotheses, references, {
            samples: 30,
            confidence: 0.999,
            seed,
          });
          // 1e-9: the mean of equal numbers is equal only to rounding
          expect(result.low).toBeLessThanOrEqual(result.mean + 1e-9);
          expect(result.high).toBeGreaterThanOrEqual(result.mean - 1e-9);
        }),
        options,
      );
    });
  });
});
