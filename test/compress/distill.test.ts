/** Which of the teacher's translations become targets. */
import { selectTargets, trainingItems, type TranslatedSplit } from '../../lib/compress';
import type { Utterance } from '../../lib/data';
import { chrf } from '../../lib/metrics';

const references = ['rot und blau', 'weiß', 'grün und gelb', 'schwarz', 'rot', 'blau und weiß'];

function translated(texts: string[], unfinished: number[] = []): TranslatedSplit {
  return {
    texts,
    tokenIds: texts.map(() => []),
    seconds: 1,
    generatedTokens: 1,
    finished: texts.map((_, i) => !unfinished.includes(i)),
  };
}

const texts = ['rot und grün', 'weiß', '', 'xyz', 'rot rot rot', 'blau und weißer'];

test('drops what is empty or cut off, what is the reference, and nothing else', () => {
  const { texts: kept, counts } = selectTargets(translated(texts, [4]), references);
  expect(kept).toEqual(['rot und grün', undefined, undefined, 'xyz', undefined, 'blau und weißer']);
  expect(counts).toEqual({ translated: 6, broken: 2, tooFar: 0, duplicates: 1, kept: 3 });
});

test('drops what is further from the reference than asked, by sentence chrF', () => {
  const far = chrf(['rot und grün'], ['rot und blau']).score;
  const near = chrf(['blau und weißer'], ['blau und weiß']).score;
  expect(far).toBeLessThan(near);
  const select = (minChrf: number): ReturnType<typeof selectTargets> =>
    selectTargets(translated(texts, [4]), references, { minChrf });
  expect(select(far).counts).toMatchObject({ tooFar: 1, kept: 2 });
  expect(select(far + 1e-9).counts).toMatchObject({ tooFar: 2, kept: 1 });
  expect(select(near + 1e-9)).toEqual({
    texts: references.map(() => undefined),
    counts: { translated: 6, broken: 2, tooFar: 3, duplicates: 1, kept: 0 },
  });
});

test('every translation is counted once', () => {
  for (const minChrf of [0, 30, 70, 100]) {
    const { counts, texts: kept } = selectTargets(translated(texts, [0, 1]), references, {
      minChrf,
    });
    const { translated: all, broken, tooFar, duplicates } = counts;
    expect(broken + tooFar + duplicates + counts.kept).toBe(all);
    expect(kept.filter((text) => text !== undefined)).toHaveLength(counts.kept);
  }
});

describe('trainingItems', () => {
  const utterances = ['a', 'b'].map(
    (id) => ({ id, translations: { de: `${id}-de`, zh: `${id}-zh` } }) as unknown as Utterance,
  );

  test('references alone, in the order of the languages', () => {
    expect(trainingItems(utterances, ['zh', 'de'])).toEqual([
      {
        utterance: utterances[0],
        targets: [
          { task: 'zh', text: 'a-zh' },
          { task: 'de', text: 'a-de' },
        ],
      },
      {
        utterance: utterances[1],
        targets: [
          { task: 'zh', text: 'b-zh' },
          { task: 'de', text: 'b-de' },
        ],
      },
    ]);
  });

  test("the teacher's texts stand behind the references of their language", () => {
    const distilled = { de: [undefined, 'B-de'], zh: ['A-zh', undefined] };
    const items = trainingItems(utterances, ['de', 'zh'], distilled);
    expect(items.map(({ targets }) => targets.map(({ text }) => text))).toEqual([
      ['a-de', 'a-zh', 'A-zh'],
      ['b-de', 'B-de', 'b-zh'],
    ]);
  });
});
