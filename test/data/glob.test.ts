import { matchesGlob } from '../../lib/data/glob';

test.each([
  ['data/train-*', 'data/train-00000-of-00002.parquet', true],
  ['data/train-*', 'data/train-a/b.parquet', false],
  ['./data/*.parquet', 'data/a.parquet', true],
  ['**/*.parquet', 'a.parquet', true],
  ['**/*.parquet', 'a/b/c.parquet', true],
  ['a/**/c', 'a/c', true],
  ['a/**/c', 'a/b/b/c', true],
  ['a/**/c', 'abc', false],
  ['a/**', 'a/b/c', true],
  ['a**c', 'a/b/c', true],
  ['train-[0-9].tsv', 'train-7.tsv', true],
  ['train-[0-9].tsv', 'train-x.tsv', false],
  ['train-[!0-9].tsv', 'train-x.tsv', true],
  ['train-[a-c_-].tsv', 'train--.tsv', true],
  ['a?c', 'abc', true],
  ['a?c', 'a/c', false],
  ['a[!b]c', 'a/c', false],
  ['a.c', 'abc', false],
  ['(a|b)+$', '(a|b)+$', true],
  // What is no set is a text.
  ['data/[train-*', 'data/[train-1', true],
  ['a[]', 'a[]', true],
  ['[z-a]', 'm', false],
  ['', '', true],
  ['', 'a', false],
  ['*', '', true],
])('%s and %s: %s', (pattern, path, matches) => {
  expect(matchesGlob(pattern, path)).toBe(matches);
});

test('patterns that a regular expression would try for ever', () => {
  expect(matchesGlob(`${'**/'.repeat(40)}x`, `${'a/'.repeat(60)}y`)).toBe(false);
  expect(matchesGlob(`${'*a'.repeat(40)}.parquet`, `${'a'.repeat(200)}.parquex`)).toBe(false);
});
