/** Files are written whole or not at all, and only files. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkWritable, FileError, writeFileAtomic } from '../lib/files';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-files-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('a pipe is written to and stays one', async () => {
  const pipe = join(dir, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const reader = spawn('sh', ['-c', 'cat pipe > read'], { cwd: dir });
  const read = once(reader, 'exit');
  checkWritable(pipe);
  writeFileAtomic(pipe, 'one\ntwo\n');
  await read;
  expect(readFileSync(join(dir, 'read'), 'utf8')).toBe('one\ntwo\n');
  expect(statSync(pipe).isFIFO()).toBe(true);
  expect(readdirSync(dir).sort()).toEqual(['pipe', 'read']);
});

test('what can be written is tried without a trace', () => {
  checkWritable(join(dir, 'a', 'b', 'new.txt'));
  writeFileSync(join(dir, 'old.txt'), 'old');
  checkWritable(join(dir, 'old.txt'));
  expect(readdirSync(dir)).toEqual(['old.txt']);
  expect(readFileSync(join(dir, 'old.txt'), 'utf8')).toBe('old');
});

test('what cannot be written is named', () => {
  writeFileSync(join(dir, 'file'), '');
  mkdirSync(join(dir, 'folder'));
  const says = (path: string, reason: string): void => {
    expect(() => checkWritable(path)).toThrow(FileError);
    expect(() => checkWritable(path)).toThrow(`cannot write ${path}: ${reason}`);
  };
  says(join(dir, 'file', 'a'), 'a part of the path is a file');
  says(join(dir, 'file', 'a', 'b'), 'a part of the path is a file');
  says(join(dir, 'folder'), 'it is a folder');
});
