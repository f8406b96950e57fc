import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { temporaryFolder } from './fakes';

interface LockModule {
  withLock<T>(
    file: string,
    action: () => Promise<T>,
    onWait?: (holder: { pid: number }) => void,
  ): Promise<T>;
}
const module_ = resolve(__dirname, '../../cmake/lock.js');
const { withLock } = jest.requireActual<LockModule>(module_);

let folder: string;
let file: string;
beforeEach(() => {
  folder = temporaryFolder();
  file = join(folder, 'lock');
});
afterEach(() => rmSync(folder, { recursive: true }));

test('processes that share a lock take turns', async () => {
  // Each reads a counter, waits, and writes it back: without the lock increments would be lost.
  const counter = join(folder, 'counter');
  writeFileSync(counter, '0');
  const code = `
    const fs = require('node:fs');
    const { withLock } = require(${JSON.stringify(module_)});
    (async () => {
      for (let i = 0; i < 4; i++) {
        await withLock(${JSON.stringify(file)}, async () => {
          const n = Number(fs.readFileSync(${JSON.stringify(counter)}, 'utf8'));
          await new Promise((done) => setTimeout(done, 20));
          fs.writeFileSync(${JSON.stringify(counter)}, String(n + 1));
        });
      }
    })();`;
  await Promise.all(
    [1, 2, 3].map(
      () =>
        new Promise((done) =>
          spawn(process.execPath, ['-e', code], { stdio: 'inherit' }).on('close', done),
        ),
    ),
  );
  expect(readFileSync(counter, 'utf8')).toBe('12');
  expect(existsSync(file)).toBe(false);
}, 60_000);

test('one that waits learns who holds the lock', async () => {
  let waitedFor: number | undefined;
  let release = (): void => {};
  const first = withLock(file, () => new Promise<void>((done) => (release = done)));
  const second = withLock(
    file,
    () => Promise.resolve('second'),
    (holder) => {
      waitedFor = holder.pid;
      release();
    },
  );
  expect(await second).toBe('second');
  await first;
  expect(waitedFor).toBe(process.pid);
}, 20_000);

test('the lock of a process that died is taken over', async () => {
  const code = `require(${JSON.stringify(module_)})
    .withLock(${JSON.stringify(file)}, async () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', code]);
  expect(existsSync(file)).toBe(true);
  expect(await withLock(file, () => Promise.resolve(1))).toBe(1);
});

test('a process that has the number of a dead holder does not keep the lock', async () => {
  writeFileSync(file, JSON.stringify({ pid: process.pid, started: '1', host: hostname() }));
  expect(await withLock(file, () => Promise.resolve(1))).toBe(1);
});

test('the lock is given back when the action fails, and when the process is told to stop', async () => {
  await expect(withLock(file, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(existsSync(file)).toBe(false);
  const code = `require(${JSON.stringify(module_)}).withLock(${JSON.stringify(file)},
    () => { process.kill(process.pid, 'SIGTERM'); return new Promise((done) => setTimeout(done, 9000)); })`;
  expect(spawnSync(process.execPath, ['-e', code]).status).toBe(143);
  expect(existsSync(file)).toBe(false);
});
