import {
  Bleu,
  bleu,
  Chrf,
  corpusScore,
  createMetric,
  type Metric,
  SACREBLEU_VERSION,
  Ter,
  tokenizers,
} from '../../lib/metrics';
import { shiftDistance } from '../../lib/metrics/shift-distance';
import { vectors } from './vectors';

test('signatures name the sacreBLEU that made the vectors', () => {
  expect(SACREBLEU_VERSION).toBe(vectors.versions.sacrebleu);
});

function metricOf(vector: (typeof vectors.scores)[number]): Metric {
  if (vector.metric === 'bleu') return new Bleu(vector.options);
  return vector.metric === 'chrf' ? new Chrf(vector.options) : new Ter(vector.options);
}

test.each(vectors.scores.map((v) => [v.metric, v.corpus, JSON.stringify(v.options), v] as const))(
  '%s of "%s" with %s',
  (_metric, corpus, _options, expected) => {
    const { hypotheses, references } = vectors.corpora[corpus]!;
    const metric = metricOf(expected);
    const statistics = hypotheses.map((h, i) => [...metric.statistics(h, [references[i]!])]);
    expect(statistics).toEqual(expected.statistics);

    const result = corpusScore(metric, hypotheses, references);
    expect(result.name).toBe(expected.name);
    expect(result.signature).toBe(expected.signature);
    expect(Math.abs(result.score - expected.score)).toBeLessThan(1e-9);
    expect(result.score.toFixed(2)).toBe(expected.score.toFixed(2));
  },
);

test.each(vectors.several.scores.map((v) => [v.metric, v.signature, v] as const))(
  '%s with several references: %s',
  (name, signature, expected) => {
    const { hypotheses } = vectors.several;
    const references = vectors.several.references[expected.references]!;
    const metric = createMetric(name);
    const statistics = hypotheses.map((h, i) => [...metric.statistics(h, references[i]!)]);
    expect(statistics).toEqual(expected.statistics);
    const result = corpusScore(metric, hypotheses, references);
    expect(result.signature).toBe(signature);
    expect(Math.abs(result.score - expected.score)).toBeLessThan(1e-9);
  },
);

test('the edits of TER are those of sacreBLEU, at the limits of the search, too', () => {
  const split = (text: string): string[] => (text === '' ? [] : text.split(' '));
  for (const { hypothesis, reference, edits } of vectors.shifts) {
    const found = shiftDistance(split(hypothesis), split(reference));
    expect({ hypothesis, reference, edits: found }).toEqual({ hypothesis, reference, edits });
  }
});

test('BLEU gives the parts of its score', () => {
  for (const expected of vectors.scores) {
    if (expected.metric !== 'bleu') continue;
    const { hypotheses, references } = vectors.corpora[expected.corpus]!;
    const result = bleu(hypotheses, references, expected.options);
    expect(Math.abs(result.brevityPenalty - expected.brevityPenalty)).toBeLessThan(1e-12);
    for (const [n, precision] of expected.precisions.entries()) {
      expect(Math.abs(result.precisions[n]! - precision)).toBeLessThan(1e-9);
    }
    const sum = (column: number): number =>
      expected.statistics.reduce((total, row) => total + row[column]!, 0);
    expect(result.hypothesisLength).toBe(sum(0));
    expect(result.referenceLength).toBe(sum(1));
    expect(result.counts).toEqual([2, 3, 4, 5].map(sum));
    expect(result.totals).toEqual([6, 7, 8, 9].map(sum));
  }
});

test.each(['13a', 'zh', 'intl', 'char', 'none'] as const)('%s cuts as sacreBLEU does', (name) => {
  for (const expected of vectors.tokens) {
    const tokens = tokenizers[name](expected.text);
    expect({ text: expected.text, tokens }).toEqual({
      text: expected.text,
      tokens: expected[name],
    });
  }
});
