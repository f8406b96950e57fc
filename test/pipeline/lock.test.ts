import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RunFolderError } from '../../lib/pipeline';
import { lockRunFolder } from '../../lib/pipeline/lock';

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'pare-lock-'))));
afterEach(() => rmSync(dir, { recursive: true }));

test('is given back', () => {
  const unlock = lockRunFolder(dir);
  expect(readdirSync(dir)).toEqual(['.lock']);
  unlock();
  expect(readdirSync(dir)).toEqual([]);
});

test('keeps out a second run, by name of the process that has it', () => {
  // The parent of the tests lives as long as they do.
  writeFileSync(join(dir, '.lock'), String(process.ppid));
  expect(() => lockRunFolder(dir)).toThrow(RunFolderError);
  expect(() => lockRunFolder(dir)).toThrow(`in use by process ${process.ppid}`);
});

test('of a process that is no more is taken over', () => {
  writeFileSync(join(dir, '.lock'), '4194999');
  lockRunFolder(dir)();
  writeFileSync(join(dir, '.lock'), 'torn');
  lockRunFolder(dir)();
});
