/** Where runs are killed, and how two of them are compared; the whole is test/cli's. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { compareArtifacts } from '../../lib/pipeline/verify-resume/compare';
import { planKills, type RecordedStage } from '../../lib/pipeline/verify-resume/kills';

describe('the points of the kills', () => {
  const stage = (name: string, index: number, keys: string[]): RecordedStage => ({
    ...{ name, index },
    events: keys.map((key, time) => ({ stage: index, key, time })),
  });
  const steps = Array.from({ length: 50 }, (_, i) => `teacher ${i + 1}/50`);
  const writes = ['opened', 'part', 'whole', 'renamed'].map((phase) => `write ${phase} a/b`);
  const stages = [
    stage('teacher', 0, [...steps, ...writes]),
    stage('given', 1, []),
    stage('pruned', 2, writes),
    stage('importance', 4, ['importance 1/2', 'importance 2/2', ...writes]),
  ];
  const seeds = Array.from({ length: 40 }, (_, seed) => seed);

  test.each([3, 5, 9, 40])('%i: in every stage, in order, one in a write', (count) => {
    for (const seed of seeds) {
      const kills = planKills(stages, count, seed);
      expect(kills).toHaveLength(count);
      const names = kills.map((kill) => kill.stage.name);
      expect([...new Set(names)]).toEqual(['teacher', 'pruned', 'importance']);
      const order = kills.map((kill) => [
        kill.stage.index,
        kill.stage.events.findIndex((e) => e.key === kill.key),
      ]);
      const sorted = [...order].sort(([a, b], [c, d]) => a! - c! || b! - d!);
      expect(order).toEqual(sorted);
      expect(new Set(order.map(String)).size).toBe(count);
      expect(kills.some(({ key }) => /^write (opened|part|whole) /.test(key))).toBe(true);
    }
  });

  test('a seed gives the same, another one others; all kinds of points come', () => {
    const of = (seed: number): string[] => planKills(stages, 6, seed).map(({ key }) => key);
    expect(of(1)).toEqual(of(1));
    expect(of(1)).not.toEqual(of(2));
    const all = new Set(seeds.flatMap(of));
    for (const key of [...writes, 'importance 2/2']) expect(all).toContain(key);
  });

  test('no more than there are points', () => {
    expect(planKills(stages.slice(1), 1000, 1)).toHaveLength(10);
    expect(planKills(stages, 1, 1)).toHaveLength(1);
    expect(planKills([], 3, 1)).toEqual([]);
  });
});

describe('two runs', () => {
  let dir: string;
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'pare-compare-'))));
  afterEach(() => rmSync(dir, { recursive: true }));

  function compared(whole: Record<string, string>, other: Record<string, string>): string {
    for (const [run, files] of Object.entries({ whole, other })) {
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(dirname(join(dir, run, path)), { recursive: true });
        writeFileSync(join(dir, run, path), text);
      }
    }
    return compareArtifacts(join(dir, 'whole'), join(dir, 'other'), 's').difference ?? 'none';
  }
  const log = (...losses: number[]): string =>
    losses
      .map((loss, i) => `${JSON.stringify({ step: i + 1, loss, seconds: Math.random() })}\n`)
      .join('');

  test.each([
    ['times', { 's/log.jsonl': log(1, 2) }, { 's/log.jsonl': log(1, 2) }, 'none'],
    [
      'a loss, before the weights',
      { 's/log.jsonl': log(1, 2), 's/a.bin': 'x' },
      { 's/log.jsonl': log(1, 2.5), 's/a.bin': 'y' },
      's/log.jsonl line 2: loss is 2.5, not 2',
    ],
    [
      'a step less',
      { 's/log.jsonl': log(1, 2) },
      { 's/log.jsonl': log(1) },
      's/log.jsonl ends after line 1, not 2',
    ],
    [
      'a step more',
      { 's/log.jsonl': log(1) },
      { 's/log.jsonl': log(1, 1) },
      's/log.jsonl has 2 lines, not 1',
    ],
    [
      'a byte of the weights',
      { 's/model/model.safetensors': 'abcd' },
      { 's/model/model.safetensors': 'abce' },
      's/model/model.safetensors has other bytes from the 4th on',
    ],
    [
      'a missing file',
      { 's/a': '', 's/b': '' },
      { 's/a': '' },
      's/b is missing in the run that was killed',
    ],
    [
      'a file too many',
      { 's/a': '' },
      { 's/a': '', 's/c.tmp-1-2': '' },
      's/c.tmp-1-2 was left by the run that was killed',
    ],
    [
      'a score, deep down',
      { 's/evaluation.json': '{"test":[{"tokensPerSecond":1,"chrf":{"score":3}}]}' },
      { 's/evaluation.json': '{"test":[{"tokensPerSecond":2,"chrf":{"score":4}}]}' },
      's/evaluation.json test.0.chrf.score is 4, not 3',
    ],
    [
      'blanks in a file of settings',
      { 's/config.json': '{"seconds":1}' },
      { 's/config.json': '{"seconds": 1}' },
      's/config.json has other bytes from the 12th on',
    ],
    [
      'seconds where they are no time',
      { 's/config.json': '{"seconds":1}' },
      { 's/config.json': '{"seconds":2}' },
      's/config.json seconds is 2, not 1',
    ],
  ])('differ by %s', (_, whole, other, told) => {
    expect(compared(whole, other)).toBe(told);
  });
});
