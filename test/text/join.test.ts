import { dropRepeated, joinTexts } from '../../lib/text';

describe('dropRepeated', () => {
  test.each([
    ['the quick brown fox', 'brown fox jumps', 'the quick brown fox', 'jumps'],
    ['The quick brown.', 'Brown fox', 'The quick brown.', 'fox'],
    ['am Montag um sieben', 'sieben Uhr', 'am Montag um sieben', 'Uhr'],
    // A word that the cut maimed, at the end, at the beginning, on both sides.
    ['see the quick bro', 'the quick brown fox', 'see the quick', 'brown fox'],
    ['see the quick brown', 'ee the quick brown fox', 'see the quick brown', 'fox'],
    ['we see the quick bro', 'ee the quick brown', 'we see the quick', 'brown'],
    // But not for the sake of one word.
    ['in the house', 'the garden', 'in the house', 'the garden'],
    ['one two', 'three four', 'one two', 'three four'],
    // Other words for the same.
    ['he said that yes', 'said yes and no', 'he said that yes', 'said yes and no'],
    ['all of it', 'all of it', 'all of it', ''],
    ['星期一上午', '上午八点', '星期一上午', '八点'],
    ['我们今天。', '今天去', '我们今天。', '去'],
    ['', 'one', '', 'one'],
    ['one', '', 'one', ''],
    ['...', '...', '...', '...'],
  ])('%j | %j', (before, after, first, second) => {
    expect(dropRepeated(before, after)).toEqual({ before: first, after: second });
  });

  test('takes no more than a breath holds', () => {
    const words = Array.from({ length: 30 }, (_, i) => `w${i}`).join(' ');
    expect(dropRepeated(words, words)).toEqual({ before: words, after: words });
  });
});

test('joinTexts puts spaces where the script has them', () => {
  expect(joinTexts(['am Montag', '', 'um acht.', 'Ja'])).toBe('am Montag um acht. Ja');
  expect(joinTexts(['星期一', '上午八点。', '好'])).toBe('星期一上午八点。好');
  expect(joinTexts(['星期一', 'Montag', '星期一'])).toBe('星期一 Montag 星期一');
  expect(joinTexts([])).toBe('');
  expect(joinTexts(['', ''])).toBe('');
});
