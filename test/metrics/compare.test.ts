import fc from 'fast-check';
import {
  bootstrapInterval,
  compareSystems,
  createMetric,
  MetricError,
  pairedApproximateRandomization,
  pairedBootstrap,
} from '../../lib/metrics';
import { Pcg64 } from '../../lib/metrics/prng';
import { vectors } from './vectors';

const { systems: texts, references, cases } = vectors.paired;
const systems = Object.entries(texts).map(([name, hypotheses]) => ({ name, hypotheses }));

test.each(vectors.bits)('draws the bits of NumPy from seed $seed', ({ seed, bits }) => {
  const draw = new Pcg64(seed).bits();
  expect(Array.from(bits, () => draw()).join('')).toBe(bits);
});

describe.each(cases)('$metric, $references references, $test', (expected) => {
  const metric = createMetric(expected.metric);
  const refs = references[expected.references - 1]!;
  const { samples, signature } = expected;

  test('one against the other is sacreBLEU’s', () => {
    for (const [i, { hypotheses }] of systems.entries()) {
      if (i === 0) continue;
      const baseline = systems[0]!.hypotheses;
      const result =
        expected.test === 'bs'
          ? pairedBootstrap(metric, baseline, hypotheses, refs, { samples })
          : pairedApproximateRandomization(metric, baseline, hypotheses, refs, { trials: samples });
      expect(result.signature).toBe(signature);
      expect(result.scoreA).toBeCloseTo(expected.scores[0]!, 9);
      expect(result.scoreB).toBeCloseTo(expected.scores[i]!, 9);
      expect(result.pValue).toBeCloseTo(expected.pValues[i]!, 12);
    }
  });

  test('and so in a table of all of them', () => {
    const test = expected.test === 'bs' ? 'bootstrap' : 'approximate-randomization';
    const metrics = [createMetric('exact_match'), metric];
    const options = { test, samples: 500, trials: samples, alpha: 0.04 } as const;
    const result = compareSystems(systems, refs, metrics, options);
    expect(result.metrics[1]!.name).toBe(metric.name);
    expect(result.metrics[1]!.signature.replace('|bs:500|ar', '|ar')).toBe(signature);
    for (const [i, { name, scores }] of result.systems.entries()) {
      expect(name).toBe(systems[i]!.name);
      const { score, mean, low, high, versusBaseline } = scores[1]!;
      expect(score).toBeCloseTo(expected.scores[i]!, 9);
      const alone = bootstrapInterval(metric, systems[i]!.hypotheses, refs, { samples: 500 });
      expect({ score, mean, low, high }).toEqual({
        score: alone.score,
        mean: alone.mean,
        low: alone.low,
        high: alone.high,
      });
      if (i === 0) expect(versusBaseline).toBeNull();
      else {
        expect(versusBaseline!.pValue).toBeCloseTo(expected.pValues[i]!, 12);
        expect(versusBaseline!.delta).toBeCloseTo(expected.scores[i]! - expected.scores[0]!, 9);
        expect(versusBaseline!.significant).toBe(expected.pValues[i]! < 0.04);
      }
    }
  });
});

test('the vectors have differences of either kind', () => {
  const pValues = cases.flatMap(({ pValues: all }) => all.slice(1) as number[]);
  expect(pValues.some((p) => p < 0.05)).toBe(true);
  expect(pValues.some((p) => p > 0.2 && p < 0.8)).toBe(true);
});

test('a comparison survives JSON, says how it was made and which way is better', () => {
  const metrics = [createMetric('ter'), createMetric('chrf')];
  const options = { samples: 20, seed: 3, confidence: 0.9, alpha: 0.1 };
  const result = compareSystems(systems, references[0], metrics, options);
  expect(JSON.parse(JSON.stringify(result))).toEqual(result);
  expect(result).toMatchObject({ segments: 40, test: 'bootstrap', trials: null, ...options });
  expect(result.metrics.map(({ higherIsBetter }) => higherIsBetter)).toEqual([false, true]);
  expect(result.metrics[0]!.signature).toContain('nrefs:1|bs:20|seed:3|case:lc|');
});

test('a system that does not differ from the baseline has a p-value of 1', () => {
  const again = { name: 'again', hypotheses: systems[0]!.hypotheses };
  for (const test of ['bootstrap', 'approximate-randomization'] as const) {
    const options = { test, samples: 50, trials: 50 };
    const metrics = [createMetric('bleu')];
    const result = compareSystems([systems[0]!, again], references[0], metrics, options);
    const expected = { delta: 0, pValue: 1, significant: false };
    expect(result.systems[1]!.scores[0]!.versusBaseline).toEqual(expected);
  }
});

test('what cannot be compared is refused, and the system named', () => {
  const metrics = [createMetric('bleu')];
  const compare = (...given: Parameters<typeof compareSystems>) => {
    return () => compareSystems(...given);
  };
  const [first] = systems;
  expect(compare([], references[0], metrics)).toThrow(/no systems/);
  expect(compare(systems, references[0], [])).toThrow(/no metric/);
  expect(compare([first!, first!], references[0], metrics)).toThrow(/two systems are called 'base/);
  const short = { name: 'short', hypotheses: ['a'] };
  expect(compare([first!, short], references[0], metrics)).toThrow(
    'short: 1 hypothesis but 40 references',
  );
  for (const options of [
    { alpha: 0 },
    { confidence: 1 },
    { samples: 0 },
    { trials: 1.5, test: 'approximate-randomization' as const },
    { seed: -1 },
    { test: 'sign' as 'bootstrap' },
  ]) {
    expect(compare(systems, references[0], metrics, options)).toThrow(MetricError);
  }
});

test('p-values do not depend on which of two systems is the baseline', () => {
  const corpus = fc.array(fc.tuple(fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(corpus, fc.nat(), (right, seed) => {
      const refs = right.map((_, i) => `segment ${i}`);
      const [a, b] = [0, 1].map((side) => refs.map((text, i) => (right[i]![side] ? text : 'no')));
      const metric = createMetric('exact_match');
      for (const test of [
        (x: string[], y: string[]) => pairedBootstrap(metric, x, y, refs, { samples: 40, seed }),
        (x: string[], y: string[]) =>
          pairedApproximateRandomization(metric, x, y, refs, { trials: 40, seed }),
      ]) {
        const [one, other] = [test(a!, b!), test(b!, a!)];
        expect(one.pValue).toBe(other.pValue);
        expect(one.delta).toBeCloseTo(-other.delta, 9);
        expect(one.pValue).toBeGreaterThan(0);
        expect(one.pValue).toBeLessThanOrEqual(1);
      }
    }),
    { seed: 20251103, numRuns: 100 },
  );
});
