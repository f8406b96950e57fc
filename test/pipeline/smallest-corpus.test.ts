/** The least that a corpus can be: one utterance a split, and sounds as they come. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAudio, writeWav } from '../../lib/audio';
import { runRecipe } from '../../lib/pipeline';
import { tinyCorpus, writeCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe } from './tiny-recipe';

jest.setTimeout(600_000);

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'pare-smallest-'))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('every stage works on one utterance a split, of which one is silent', async () => {
  const corpus = join(dir, 'corpus');
  const { train, dev, test } = tinyCorpus(corpus);
  const splits = { train: train.slice(0, 1), dev: dev.slice(0, 1), test: test.slice(0, 1) };
  writeCorpus(corpus, splits);
  const path = join(corpus, splits.dev[0]!.audio);
  writeWav(path, new Float32Array((await loadAudio(path)).length), 16000);
  const file = writeRecipe(dir, tinyRecipe(corpus, join(dir, 'run')));
  const { report, reportPath } = await runRecipe(file);
  expect(report.models.map(({ name }) => name)).toEqual([
    ...['teacher', 'pruned', 'healed', 'quantized', 'student'],
  ]);
  // A score of one sentence has an interval of no width, and no number that is none.
  expect(readFileSync(reportPath, 'utf8')).not.toMatch(/\bNaN\b|Infinity|undefined/);
});
