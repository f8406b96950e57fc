/** Where the demo's corpora lie. */
import { demoCorpusDir } from '../../lib/pipeline/demo-corpus';

test('corpora of other settings do not replace the demo’s, nor each other', () => {
  const folders = [{}, { train: 200 }, { train: 201 }, { train: 200, dev: 20 }].map(demoCorpusDir);
  expect(new Set(folders).size).toBe(4);
  expect(demoCorpusDir()).toBe(folders[0]);
  expect(demoCorpusDir({ train: 200 })).toBe(folders[1]);
  expect(folders[0]).toMatch(/demo-corpus$/);
});
