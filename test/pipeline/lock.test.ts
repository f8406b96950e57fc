import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { RunFolderError } from '../../lib/pipeline';
import { lockRunFolder } from '../../lib/pipeline/lock';

let dir: string;
let lock: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-lock-'));
  lock = join(dir, '.lock');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const onLinux = existsSync('/proc/self/stat') ? test : test.skip;

/** What this process writes into its lock. */
function ownLock(): { pid: number; started?: string } {
  const unlock = lockRunFolder(dir);
  const own = JSON.parse(readFileSync(lock, 'utf8')) as { pid: number; started?: string };
  unlock();
  return own;
}

test('is given back', () => {
  const unlock = lockRunFolder(dir);
  expect(readdirSync(dir)).toEqual(['.lock']);
  unlock();
  expect(readdirSync(dir)).toEqual([]);
});

test('keeps out a second run, by name of the process that has it and of the file', () => {
  // The parent of the tests lives as long as they do. A number alone is an earlier version's.
  for (const content of [String(process.ppid), JSON.stringify({ pid: process.ppid })]) {
    writeFileSync(lock, content);
    expect(() => lockRunFolder(dir)).toThrow(RunFolderError);
    expect(() => lockRunFolder(dir)).toThrow(
      `${dir} is in use by process ${process.ppid}; wait for it, or choose another output; ` +
        `if no such run is going on, remove ${lock}`,
    );
    expect(readFileSync(lock, 'utf8')).toBe(content);
  }
  expect(readdirSync(dir)).toEqual(['.lock']);
});

test('keeps out a second run of the same process, however the folder is named', () => {
  const unlock = lockRunFolder(dir);
  for (const name of [dir, `${dir}/`, relative(process.cwd(), dir)]) {
    expect(() => lockRunFolder(name)).toThrow(RunFolderError);
    expect(() => lockRunFolder(name)).toThrow(
      `${name} is in use by another run of this process (${process.pid}); wait for it`,
    );
  }
  expect(existsSync(lock)).toBe(true);
  unlock();
  lockRunFolder(dir)();
});

onLinux('keeps out a second run of the same process that comes by a link', () => {
  const real = join(dir, 'real');
  mkdirSync(real);
  symlinkSync(real, join(dir, 'link'));
  const unlock = lockRunFolder(real);
  expect(() => lockRunFolder(join(dir, 'link'))).toThrow(`in use by process ${process.pid};`);
  unlock();
  lockRunFolder(join(dir, 'link'))();
});

test('two folders are two locks', () => {
  const folders = ['a', 'b'].map((name) => join(dir, name));
  for (const folder of folders) mkdirSync(folder);
  const unlocks = folders.map(lockRunFolder);
  unlocks[0]!();
  expect(folders.map((folder) => readdirSync(folder))).toEqual([[], ['.lock']]);
  unlocks[1]!();
});

test('gives back its own lock only, and only once', () => {
  const first = lockRunFolder(dir);
  first();
  const second = lockRunFolder(dir);
  first();
  expect(existsSync(lock)).toBe(true);
  expect(() => lockRunFolder(dir)).toThrow(RunFolderError);
  // Removed by hand, and taken by another run since.
  writeFileSync(lock, '{"pid":1}');
  second();
  expect(readFileSync(lock, 'utf8')).toBe('{"pid":1}');
  rmSync(lock);
  // A folder that is gone has nothing to give back.
  const third = lockRunFolder(dir);
  rmSync(dir, { recursive: true });
  third();
});

test('of a process that is no more is taken over', () => {
  const gone = ['4194999', '{"pid":4194999}', 'torn', '', 'null', '{"pid":"x"}', '{"pid":-1}'];
  // That of this process' number which it did not write is from one before.
  for (const content of [...gone, String(process.pid)]) {
    writeFileSync(lock, content);
    lockRunFolder(dir)();
    expect(readdirSync(dir)).toEqual([]);
  }
});

onLinux('of a process whose number another has by now is taken over', () => {
  const { started } = ownLock();
  expect(started).toMatch(/^\d+$/);
  for (const pid of [process.ppid, process.pid]) {
    writeFileSync(lock, JSON.stringify({ pid, started: `${started}0` }));
    const unlock = lockRunFolder(dir);
    expect(JSON.parse(readFileSync(lock, 'utf8'))).toEqual({ pid: process.pid, started });
    unlock();
  }
});

describe('a process of its own', () => {
  let child: ChildProcess | undefined;
  afterEach(() => child?.kill('SIGKILL'));

  /** Starts a shell command that prints a line when it is ready. */
  async function start(command: string): Promise<string> {
    child = spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'ignore'] });
    const [line] = (await once(child.stdout!, 'data')) as [Buffer];
    return line.toString().trim();
  }

  function startOf(pid: number): string {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[19]!;
  }

  onLinux('is asked when it began', async () => {
    await start('echo ready; exec sleep 60');
    const pid = child!.pid!;
    const content = JSON.stringify({ pid, started: startOf(pid) });
    writeFileSync(lock, content);
    expect(() => lockRunFolder(dir)).toThrow(`in use by process ${pid};`);
    child!.kill('SIGKILL');
    await once(child!, 'exit');
    lockRunFolder(dir)();
  });

  onLinux('that ended holds nothing, even if its parent has not asked how', async () => {
    // The shell becomes a program that never asks for the child which it has.
    const zombie = Number(await start('sleep 0 & echo $!; exec sleep 60'));
    const state = (): string => readFileSync(`/proc/${zombie}/stat`, 'utf8');
    while (!state().includes(') Z ')) await new Promise((resolve) => setTimeout(resolve, 10));
    writeFileSync(lock, JSON.stringify({ pid: zombie, started: startOf(zombie) }));
    lockRunFolder(dir)();
    expect(readdirSync(dir)).toEqual([]);
  });
});

test('a folder where nothing can be written is told of in one line', () => {
  rmSync(dir, { recursive: true });
  expect(() => lockRunFolder(dir)).toThrow(`cannot write ${lock}: no such file or folder`);
});
