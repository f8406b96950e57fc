import { createHash } from 'node:crypto';
import fc from 'fast-check';
import {
  basicNormalizer,
  cer,
  createMetric,
  englishNormalizer,
  MetricError,
  wer,
} from '../../lib/metrics';
import { editCounts } from '../../lib/metrics/edit-counts';
import { englishSpellings } from '../../lib/metrics/english-spellings';
import { transcripts } from './vectors';

const { segments, corpus } = transcripts.rates;

test('normalisers write texts as Whisper’s do', () => {
  const basic = basicNormalizer();
  const plain = basicNormalizer({ removeDiacritics: true });
  const letters = basicNormalizer({ splitLetters: true });
  for (const expected of transcripts.normalized) {
    const { text } = expected;
    expect({ text, english: englishNormalizer(text) }).toEqual({ text, english: expected.english });
    expect({ text, basic: basic(text) }).toEqual({ text, basic: expected.basic });
    if (expected.splitLetters === undefined) continue;
    expect(letters(text)).toBe(expected.splitLetters);
    expect(plain(text)).toBe(expected.removeDiacritics);
  }
});

test('the table of spellings is Whisper’s', () => {
  // In the order of Python's sort, by code points.
  const lines = [...englishSpellings].sort(([a], [b]) => (a < b ? -1 : 1));
  const text = lines.map(([british, american]) => `${british}:${american}\n`).join('');
  const { count, sha256 } = transcripts.spellings;
  expect(lines).toHaveLength(count);
  expect(createHash('sha256').update(text).digest('hex')).toBe(sha256);
});

test('edits are counted by kind as jiwer counts them', () => {
  for (const { reference, hypothesis, words, characters } of segments) {
    for (const [rate, expected] of [
      [wer, words],
      [cer, characters],
    ] as const) {
      const result = rate([hypothesis], [reference]);
      const { hits, substitutions, deletions, insertions } = result;
      const found = [hits, substitutions, deletions, insertions];
      expect({ reference, hypothesis, found }).toEqual({ reference, hypothesis, found: expected });
      expect(result.referenceLength).toBe(hits + substitutions + deletions);
    }
  }
});

test('the rates of a corpus are jiwer’s', () => {
  const references = segments.map(({ reference }) => reference);
  const hypotheses = segments.map(({ hypothesis }) => hypothesis);
  const words = wer(hypotheses, references);
  expect(words).toMatchObject({ name: 'WER', signature: 'nrefs:1|unit:word|norm:none' });
  expect(words.score).toBeCloseTo(100 * corpus.wer, 9);
  const characters = cer(hypotheses, references);
  expect(characters).toMatchObject({ name: 'CER', signature: 'nrefs:1|unit:character|norm:none' });
  expect(characters.score).toBeCloseTo(100 * corpus.cer, 9);
});

test('a normaliser is done to both sides', () => {
  const [hypothesis, reference] = ["It's twenty-five dollars, uh, Colour!", 'it is $25 color'];
  expect(wer([hypothesis], [reference], { normalizer: 'english' })).toMatchObject({
    score: 0,
    signature: 'nrefs:1|unit:word|norm:english',
  });
  expect(wer([hypothesis], [reference]).score).toBe(125);
  expect(cer(['今天，好！'], ['今天好'], { normalizer: 'basic' }).deletions).toBe(0);
});

test('a reference of which nothing is left counts as wholly wrong, or as right', () => {
  const options = { normalizer: 'english' } as const;
  expect(wer(['[noise]'], ['(laughs)'], options).score).toBe(0);
  expect(wer(['hello there'], ['(laughs)'], options).score).toBe(100);
});

test('several references and unknown normalisers are refused', () => {
  const rate = createMetric('wer');
  expect(() => rate.statistics('a', ['a', 'b'])).toThrow(MetricError);
  expect(() => rate.statistics('a', ['a', 'b'])).toThrow(/one reference a segment, here are 2/);
  expect(() => createMetric('cer', { normalizer: 'toString' as 'none' })).toThrow(
    "unknown normalizer 'toString': use one of none, basic, english",
  );
});

describe('properties', () => {
  const units = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 12 });
  const options = { seed: 20251103, numRuns: 300 };
  const editsOf = (from: string[], to: string[]): number => {
    const { substitutions, deletions, insertions } = editCounts(from, to);
    return substitutions + deletions + insertions;
  };

  test('edits are a distance, and the counts add up', () => {
    fc.assert(
      fc.property(units, units, units, (a, b, c) => {
        const { hits, substitutions, deletions, insertions } = editCounts(a, b);
        expect(hits + substitutions + deletions).toBe(a.length);
        expect(hits + substitutions + insertions).toBe(b.length);
        expect(editsOf(a, b)).toBe(editsOf(b, a));
        expect(editsOf(a, b) === 0).toBe(a.join() === b.join());
        expect(editsOf(a, c)).toBeLessThanOrEqual(editsOf(a, b) + editsOf(b, c));
      }),
      options,
    );
  });

  test('what is normalised has no capitals, no brackets and no doubled space', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        for (const normalize of [englishNormalizer, basicNormalizer()]) {
          const result = normalize(text);
          expect(result).not.toMatch(/[A-Z()<>[\]]|\s\s/);
        }
      }),
      options,
    );
  });
});
