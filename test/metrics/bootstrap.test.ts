import { bootstrapInterval, createMetric, pairedBootstrap, retention } from '../../lib/metrics';
import { Pcg64 } from '../../lib/metrics/prng';
import { vectors } from './vectors';

const { a, b, references, cases } = vectors.bootstrap;

test.each(vectors.generator)('draws below $bound from seed $seed as NumPy', (expected) => {
  const generator = new Pcg64(expected.seed);
  const values = expected.values.map(() => generator.nextBelow(expected.bound));
  expect(values).toEqual(expected.values);
  for (let i = values.length; i < 39_999; i++) generator.nextBelow(expected.bound);
  expect(generator.nextBelow(expected.bound)).toBe(expected.last);
});

describe.each(cases)('$metric $options', (expected) => {
  const metric = createMetric(expected.metric, expected.options);
  const { samples, seed } = expected;

  test('the interval is that of sacreBLEU', () => {
    const result = bootstrapInterval(metric, a, references, { samples, seed });
    expect(result.signature).toBe(expected.signature);
    expect(result.score).toBeCloseTo(expected.paired.scoreA, 9);
    // sacreBLEU itself resamples in float32
    expect(result.mean).toBeCloseTo(expected.sacrebleu.mean, 3);
    expect((result.high - result.low) / 2).toBeCloseTo(expected.sacrebleu.ci, 3);
    expect(result.mean).toBeCloseTo(expected.float64.mean, 9);
    expect(result.low).toBeCloseTo(expected.float64.low, 9);
    expect(result.high).toBeCloseTo(expected.float64.high, 9);

    const narrow = bootstrapInterval(metric, a, references, { samples, seed, confidence: 0.9 });
    expect(narrow.low).toBeCloseTo(expected.float64.low90, 9);
    expect(narrow.high).toBeCloseTo(expected.float64.high90, 9);
  });

  test('the paired comparison is that of sacreBLEU', () => {
    const result = pairedBootstrap(metric, a, b, references, { samples, seed });
    const { scoreA, scoreB, pValue } = expected.paired;
    expect(result.scoreA).toBeCloseTo(scoreA, 9);
    expect(result.scoreB).toBeCloseTo(scoreB, 9);
    expect(result.delta).toBeCloseTo(scoreB - scoreA, 9);
    expect(result.pValue).toBeCloseTo(pValue, 9);
    expect(result.signature).toBe(expected.signature);
  });
});

test('an interval narrows with less confidence, and a seed gives the same again', () => {
  const metric = createMetric('chrf');
  const wide = bootstrapInterval(metric, a, references, { samples: 200, confidence: 0.99 });
  const narrow = bootstrapInterval(metric, a, references, { samples: 200, confidence: 0.5 });
  expect(narrow.low).toBeGreaterThan(wide.low);
  expect(narrow.high).toBeLessThan(wide.high);
  expect(narrow.low).toBeLessThan(narrow.mean);
  expect(narrow.high).toBeGreaterThan(narrow.mean);
  expect(narrow.mean).toBe(wide.mean);
  const other = bootstrapInterval(metric, a, references, { samples: 200, seed: 1 });
  expect(other.mean).not.toBe(wide.mean);
  expect(bootstrapInterval(metric, a, references, { samples: 200, seed: 1 })).toEqual(other);
});

test('systems that never differ are not told apart', () => {
  const result = pairedBootstrap(createMetric('bleu'), a, [...a], references, { samples: 50 });
  expect(result).toMatchObject({ delta: 0, pValue: 1 });
});

test('a clear difference is significant, either way round', () => {
  const exact = createMetric('exact_match');
  const right = Array.from({ length: 60 }, (_, i) => `segment ${i}`);
  const half = right.map((text, i) => (i % 2 ? text : 'wrong'));
  const better = pairedBootstrap(exact, half, right, right, { samples: 199 });
  expect(better).toMatchObject({ scoreA: 50, scoreB: 100, delta: 50, pValue: 1 / 200 });
  const worse = pairedBootstrap(exact, right, half, right, { samples: 199 });
  expect(worse).toMatchObject({ delta: -50, pValue: 1 / 200 });
});

describe('retention', () => {
  const exact = createMetric('exact_match');
  const segments = Array.from({ length: 100 }, (_, i) => `segment ${i}`);
  const first = (n: number): string[] => segments.map((text, i) => (i < n ? text : ''));

  test('is the ratio of the scores, inside its interval', () => {
    const result = retention(exact, first(72), first(80), segments);
    expect(result).toMatchObject({ studentScore: 72, teacherScore: 80, undefinedSamples: 0 });
    expect(result.retention).toBeCloseTo(90, 9);
    expect(result.low).toBeGreaterThan(80);
    expect(result.low).toBeLessThan(90);
    expect(result.high).toBeGreaterThan(90);
    expect(result.high).toBeLessThanOrEqual(100);
    expect(result.signature).toBe('nrefs:1|bs:1000|seed:12345|case:mixed|trim:yes');
  });

  test('pairs the resamples: a student that equals its teacher keeps all of every one', () => {
    const metric = createMetric('chrf++');
    const result = retention(metric, a, a, references, { samples: 100 });
    expect(result).toMatchObject({ retention: 100, low: 100, high: 100 });
  });

  test('is undefined where the teacher scores 0', () => {
    const result = retention(exact, first(10), first(0), segments, { samples: 50 });
    expect(result).toMatchObject({ studentScore: 10, teacherScore: 0, undefinedSamples: 50 });
    expect(result.retention).toBeUndefined();
    expect(result.low).toBeUndefined();
    expect(result.high).toBeUndefined();
  });

  test('leaves out, and counts, the resamples in which the teacher scores 0', () => {
    const result = retention(exact, first(1), first(1), segments, { samples: 500 });
    expect(result.undefinedSamples).toBeGreaterThan(100); // (99 / 100)^100 = 0.37 of them
    expect(result.undefinedSamples).toBeLessThan(250);
    expect(result).toMatchObject({ retention: 100, low: 100, high: 100 });
  });
});
