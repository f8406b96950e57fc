import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { metricKeys } from '../../lib/compress';
import { corpusScore, createMetricFor } from '../../lib/metrics';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';
import { jsonLines, oneLine, pare } from './invoke';

jest.setTimeout(120_000);

let folder: string;
let model: string;
let corpus: string;

const sentences = [
  { de: 'Am Montag.', zh: '星期一。' },
  { de: 'Um acht Uhr.', zh: '八点。' },
  { de: 'Zehn Euro.', zh: '十欧元。' },
];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-evaluate-'));
  model = join(folder, 'model');
  corpus = join(folder, 'corpus');
  writeTinyCheckpoint(model);
  mkdirSync(join(corpus, 'audio'), { recursive: true });
  const lines = sentences.map((translations, i) => {
    const audio = `audio/${i}.wav`;
    writeTone(join(corpus, audio), 0.6 + 0.3 * i, 200 + 90 * i);
    const said = { text: 'on Monday', speaker: 'tone', group: `g${i}`, seconds: 1 };
    return JSON.stringify({ id: `u${i}`, audio, ...said, translations });
  });
  writeFileSync(join(corpus, 'test.jsonl'), `${lines.join('\n')}\n`);
  const description = {
    name: 'tones',
    version: '1',
    sampleRate: 16000,
    languages: { source: 'en', targets: ['de', 'zh'] },
    splits: { test: { utterances: 3, seconds: 3, speakers: 1 } },
  };
  writeFileSync(join(corpus, 'corpus.json'), JSON.stringify(description));
});
afterAll(() => rmSync(folder, { recursive: true }));

const args = (...more: string[]): string[] => {
  return ['evaluate', '--model', model, '--corpus', corpus, '--max-new-tokens', '5', ...more];
};

describe('pare evaluate', () => {
  test('scores every language by every metric, with interval and signature', async () => {
    const { exitCode, stdout, stderr } = await pare(...args('--json'));
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const results = jsonLines(stdout);
    expect(results.map(({ language }) => language)).toEqual(['de', 'zh']);
    const translator = await SpeechTranslator.load(model);
    for (const [i, language] of (['de', 'zh'] as const).entries()) {
      const files = sentences.map((_, at) => join(corpus, `audio/${at}.wav`));
      const to = language === 'de' ? 'German' : 'Chinese';
      const texts = (await translator.translateBatch(files, { to, maxNewTokens: 5 })).map(
        ({ text }) => text,
      );
      const refs = sentences.map((sentence) => sentence[language]);
      const { scores, ...rest } = results[i]!;
      expect(rest).toEqual({
        ...{ model, corpus, split: 'test', language, segments: 3 },
        tokensPerSecond: expect.any(Number),
        ids: ['u0', 'u1', 'u2'],
        texts,
        references: refs,
      });
      expect(Object.keys(scores as object)).toEqual([...metricKeys]);
      for (const key of metricKeys) {
        const metric = createMetricFor(key, language);
        const { score, signature } = corpusScore(metric, texts, refs);
        const own = (scores as Record<string, Record<string, number | string>>)[key]!;
        expect(own).toEqual({
          score,
          low: expect.any(Number),
          high: expect.any(Number),
          signature: signature.replace('nrefs:1', 'nrefs:1|bs:1000|seed:12345'),
        });
        expect(own.low).toBeLessThanOrEqual(score);
        expect(own.high).toBeGreaterThanOrEqual(score);
      }
    }
    translator.dispose();
  });

  test('takes languages by name or code, and a part of the split', async () => {
    const { stdout } = await pare(...args('--json', '--to', 'Chinese', '--limit', '2'));
    const results = jsonLines(stdout);
    expect(results).toHaveLength(1);
    expect(results[0]).toMatchObject({ language: 'zh', segments: 2 });
    const text = await pare(...args('--to', 'de', '--limit', '1'));
    expect(text.exitCode).toBe(0);
    const lines = text.stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^test, de: 1 segment, [\d.]+ tokens\/s$/);
    expect(lines.slice(1).map((line) => line.trim().split(/ {2,}/)[0])).toEqual([
      'BLEU',
      'chrF',
      'chrF++',
      'exact match',
    ]);
    expect(lines[1]).toContain('tok:13a');
  });

  test.each([
    { more: ['--to', 'French'], exitCode: 1, says: 'German, Chinese' },
    { more: ['--split', 'dev'], exitCode: 1, says: "no split 'dev'" },
    { more: ['--corpus', '/nowhere'], exitCode: 1, says: '/nowhere' },
    { more: ['--model', '/nowhere'], exitCode: 1, says: '/nowhere' },
  ])('$more: one line', async ({ more, exitCode, says }) => {
    const result = await pare(...args(...more));
    expect(result).toMatchObject({ exitCode, stdout: '' });
    expect(result.stderr).toMatch(oneLine);
    expect(result.stderr).toContain(says);
  });
});
