/** Which of a corpus' languages a step is asked for. */
import type { Corpus } from '../../lib/data';
import { openDataset } from '../../lib/pipeline/steps/dataset';

const targets = ['de', 'zh-CN'];
const corpus = {
  dir: 'talks',
  description: { languages: { source: 'en', targets } },
  read: () => Promise.resolve([{ id: '1' }]),
} as unknown as Corpus;

test.each([
  [undefined, targets],
  [
    ['Chinese', 'German', 'de'],
    ['zh-CN', 'de'],
  ],
  [['zh'], ['zh-CN']],
])('%j of de and zh-CN', async (languages, found) => {
  const dataset = await openDataset({ corpus, split: 'dev', languages });
  expect(dataset.languages).toEqual(found);
});

test('another one is refused by the name that was given', async () => {
  await expect(openDataset({ corpus, split: 'dev', languages: ['French'] })).rejects.toThrow(
    'talks has no references in French; it has de, zh-CN',
  );
});
