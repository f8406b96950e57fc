import { Bleu, bleu, Chrf, chrf, SACREBLEU_VERSION, tokenizers } from '../../lib/metrics';
import { vectors } from './vectors';

test('signatures name the sacreBLEU that made the vectors', () => {
  expect(SACREBLEU_VERSION).toBe(vectors.versions.sacrebleu);
});

test.each(vectors.scores.map((v) => [v.metric, v.corpus, JSON.stringify(v.options), v] as const))(
  '%s of "%s" with %s',
  (_metric, corpus, _options, expected) => {
    const { hypotheses, references } = vectors.corpora[corpus]!;
    const metric =
      expected.metric === 'bleu' ? new Bleu(expected.options) : new Chrf(expected.options);
    const statistics = hypotheses.map((h, i) => [...metric.statistics(h, references[i]!)]);
    expect(statistics).toEqual(expected.statistics);

    const result =
      expected.metric === 'bleu'
        ? bleu(hypotheses, references, expected.options)
        : chrf(hypotheses, references, expected.options);
    expect(result.name).toBe(expected.name);
    expect(result.signature).toBe(expected.signature);
    expect(Math.abs(result.score - expected.score)).toBeLessThan(1e-9);
    expect(result.score.toFixed(2)).toBe(expected.score.toFixed(2));
  },
);

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

test.each(['13a', 'zh', 'char', 'none'] as const)('%s cuts as sacreBLEU does', (name) => {
  for (const expected of vectors.tokens) {
    const tokens = tokenizers[name](expected.text);
    expect({ text: expected.text, tokens }).toEqual({
      text: expected.text,
      tokens: expected[name],
    });
  }
});
