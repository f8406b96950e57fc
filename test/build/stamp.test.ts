import { rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder, writeFiles } from './fakes';

interface StampModule {
  filesUnder(folder: string, endings: string[]): string[];
  hashFiles(root: string, files: string[], extra?: object): string;
}
const { filesUnder, hashFiles } = jest.requireActual<StampModule>('../../cmake/stamp.js');

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
  writeFiles(folder, { 'a.cc': 'one', 'deep/b.h': 'two', 'deep/c.txt': 'three' });
});
afterEach(() => rmSync(folder, { recursive: true }));

const stamp = (extra?: object): string =>
  hashFiles(folder, filesUnder(folder, ['.cc', '.h']), extra);

test('what a build depends on is found by its endings', () => {
  expect(filesUnder(folder, ['.cc', '.h'])).toEqual([
    join(folder, 'a.cc'),
    join(folder, 'deep', 'b.h'),
  ]);
});

test('a build is current until a content, a name or a setting changes; times do not matter', () => {
  const before = stamp({ libtorch: '2.13' });
  utimesSync(join(folder, 'a.cc'), 1, 1);
  expect(stamp({ libtorch: '2.13' })).toBe(before);
  expect(stamp({ libtorch: '2.12' })).not.toBe(before);
  writeFileSync(join(folder, 'deep', 'c.txt'), 'not a source');
  expect(stamp({ libtorch: '2.13' })).toBe(before);
  writeFileSync(join(folder, 'deep', 'b.h'), 'changed');
  const changed = stamp({ libtorch: '2.13' });
  expect(changed).not.toBe(before);
  writeFileSync(join(folder, 'deep', 'd.cc'), '');
  expect(stamp({ libtorch: '2.13' })).not.toBe(changed);
});
