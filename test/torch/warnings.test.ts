/** What libtorch warns of: it writes to file descriptor 2 unless somebody listens. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { installPackage } from '../cli/installed-package';

let folder: string;
beforeAll(() => {
  folder = installPackage();
});
afterAll(() => rmSync(folder, { recursive: true }));

const warns = `
const { ones, scope } = require('./dist/torch');
for (let i = 0; i < 3; i++) scope(() => ones([1]).var());
`;

test('becomes a warning of the process, once, with nothing written by libtorch itself', () => {
  const listen = `process.on('warning', ({ name, message }) => console.log(JSON.stringify({ name, message })));`;
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--no-warnings', '-e', listen + warns],
    { cwd: folder, encoding: 'utf8' },
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const { name, message } = JSON.parse(stdout) as { name: string; message: string };
  expect(name).toBe('TorchWarning');
  expect(message).toMatch(/degrees of freedom is <= 0/);
});

test('reads as any other warning where nobody listens', () => {
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', warns], {
    cwd: folder,
    encoding: 'utf8',
  });
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^\(node:\d+\) TorchWarning: .*degrees of freedom/);
});

test("is heard in a worker, and does not outlive the worker's environment", async () => {
  const code = `
    const { parentPort } = require('node:worker_threads');
    process.on('warning', ({ name }) => parentPort.postMessage(name));
    ${warns.replace('./dist', join(folder, 'dist'))}`;
  const worker = new Worker(code, { eval: true, stderr: true });
  // Both may come in one turn of the event loop.
  const [[message], [exitCode]] = await Promise.all([
    once(worker, 'message'),
    once(worker, 'exit'),
  ]);
  expect({ message, exitCode }).toEqual({ message: 'TorchWarning', exitCode: 0 });
});
