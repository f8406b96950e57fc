/** The run folder: an artifact is there whole or not at all. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileError } from '../../lib/files';
import { RunFolder, RunFolderError, type Artifact } from '../../lib/pipeline';

let run: string;
let folder: RunFolder;
beforeEach(() => {
  run = join(mkdtempSync(join(tmpdir(), 'pare-folder-')), 'run');
  folder = new RunFolder(run, 'mine');
});
afterEach(() => rmSync(join(run, '..'), { recursive: true, force: true }));

const make = (inputs: unknown, text: string = 'made'): Promise<Artifact> =>
  folder.stage('one', inputs, (target) => {
    writeFileSync(join(target, 'result'), text);
    return Promise.resolve();
  });
const result = (): string => readFileSync(join(run, 'one', 'result'), 'utf8');
const never = (): Promise<void> => Promise.reject(new Error('was made again'));

test('a stage is made once for the same inputs', async () => {
  const made = await make({ a: 1 });
  expect(made).toMatchObject({ dir: join(run, 'one'), reused: false });
  const found = await new RunFolder(run, 'mine').stage('one', { a: 1 }, never);
  expect(found).toEqual({ ...made, reused: true });
  expect(readdirSync(run).sort()).toEqual(['one', 'run.json']);
});

test('other inputs replace it, and the hash depends on stage and inputs', async () => {
  const first = await make({ a: 1 });
  const second = await make({ a: 2 }, 'again');
  expect(result()).toBe('again');
  expect(second.hash).not.toBe(first.hash);
  const other = await folder.stage('two', { a: 2 }, () => Promise.resolve());
  expect(other.hash).not.toBe(second.hash);
  expect((await make({ a: 1 })).hash).toBe(first.hash);
});

test('a stage that fails leaves the artifact before it, and nothing of its own under its name', async () => {
  await make({ a: 1 }, 'old');
  const failing = folder.stage('one', { a: 2 }, (target, work) => {
    writeFileSync(join(target, 'result'), 'half');
    writeFileSync(join(work, 'state'), '1');
    expect(result()).toBe('old');
    return Promise.reject(new Error('stop'));
  });
  await expect(failing).rejects.toThrow('stop');
  expect(result()).toBe('old');
  await expect(folder.stage('one', { a: 1 }, never)).resolves.toMatchObject({ reused: true });
});

test('work is kept for the next attempt, what was half made is not; both go when it is done', async () => {
  const attempt = (body: (target: string, work: string) => void): Promise<Artifact> =>
    folder.stage('one', 1, (target, work) => Promise.resolve(body(target, work)));
  await expect(
    attempt((target, work) => {
      writeFileSync(join(target, 'half'), '');
      writeFileSync(join(work, 'state'), 'step 3');
      throw new Error('killed');
    }),
  ).rejects.toThrow('killed');
  await attempt((target, work) => {
    expect(readdirSync(target)).toEqual([]);
    expect(readFileSync(join(work, 'state'), 'utf8')).toBe('step 3');
  });
  expect(readdirSync(run).sort()).toEqual(['one', 'run.json']);
  expect(readdirSync(join(run, 'one'))).toEqual(['stage.json']);
});

test('work for settings that were given up goes, too', async () => {
  const failing = folder.stage('one', 'first thought', () => Promise.reject(new Error('killed')));
  await expect(failing).rejects.toThrow('killed');
  const another = folder.stage('one-more', 'x', () => Promise.reject(new Error('killed')));
  await expect(another).rejects.toThrow('killed');
  await make('second thought');
  // What belongs to another stage stays.
  expect(readdirSync(run).filter((name) => name.startsWith('.one-more-')).length).toBeGreaterThan(
    0,
  );
  expect(readdirSync(run).filter((name) => /^\.one-[^m]/.test(name))).toEqual([]);
});

test('time is counted over all attempts', async () => {
  const wait = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 60));
  const failing = folder.stage('one', 1, async () => {
    await wait();
    throw new Error('killed');
  });
  await expect(failing).rejects.toThrow('killed');
  const { seconds } = await folder.stage('one', 1, wait);
  expect(seconds).toBeGreaterThan(0.1);
});

test('the folder of another recipe is refused and left alone', () => {
  const refused = (): RunFolder => new RunFolder(run, 'yours');
  expect(refused).toThrow(RunFolderError);
  expect(refused).toThrow(
    `${run} holds a run of the recipe mine, not of yours; choose another output or remove the folder`,
  );
  expect(readdirSync(run)).toEqual(['run.json']);
});

test.each(['', '{"stage": "one", "ha', 'null', '[]', '{"stage":"one"}', '{"hash": 3}'])(
  'an artifact with a damaged stage.json is named and made anew: %p',
  async (text) => {
    await make(1);
    writeFileSync(join(run, 'one', 'stage.json'), text);
    const warnings: string[] = [];
    const again = folder.stage('one', 1, () => Promise.reject(new Error('stop')), {
      onWarning: (message) => warnings.push(message),
    });
    await expect(again).rejects.toThrow('stop');
    const one = join(run, 'one');
    expect(warnings).toEqual([
      `the artifact ${one} is damaged (stage.json cannot be read); the stage is made anew`,
    ]);
    // What is there stays until another has been made.
    expect(result()).toBe('made');
    await expect(make(1)).resolves.toMatchObject({ reused: false });
  },
);

test.each([
  ['cut short', (path: string) => writeFileSync(path, 'mad'), 'result has 3 bytes, not 4'],
  [
    'changed',
    (path: string) => writeFileSync(path, 'mode'),
    'result has other content than was written',
  ],
  ['missing', (path: string) => rmSync(path), 'result is missing'],
])('an artifact with a file %s is named and made anew', async (_, spoil, how) => {
  const made = await make(1);
  spoil(join(run, 'one', 'result'));
  const warnings: string[] = [];
  const write = (target: string): Promise<void> => {
    writeFileSync(join(target, 'result'), 'made');
    return Promise.resolve();
  };
  const options = { onWarning: (message: string): void => void warnings.push(message) };
  const again = await folder.stage('one', 1, write, options);
  expect(again).toMatchObject({ hash: made.hash, reused: false });
  expect(result()).toBe('made');
  expect(warnings).toEqual([
    `the artifact ${join(run, 'one')} is damaged (${how}); the stage is made anew`,
  ]);
  const third = await folder.stage('one', 1, never, options);
  expect(third.reused).toBe(true);
  expect(warnings).toHaveLength(1);
});

test('an artifact of an earlier version, without digests, is taken', async () => {
  await make(1);
  const path = join(run, 'one', 'stage.json');
  const { files: _, ...record } = JSON.parse(readFileSync(path, 'utf8')) as { files: object };
  writeFileSync(path, JSON.stringify(record));
  expect(await folder.stage('one', 1, never)).toMatchObject({ reused: true });
});

test.each(['', 'null', '{"recipe":'])('a damaged run.json is named: %p', (text) => {
  writeFileSync(join(run, 'run.json'), text);
  const open = (): RunFolder => new RunFolder(run, 'mine');
  expect(open).toThrow(RunFolderError);
  expect(open).toThrow(`${join(run, 'run.json')} is damaged; remove this file and run again`);
  rmSync(join(run, 'run.json'));
  expect(open).not.toThrow();
});

test('an output that is a file, or below one, is named', () => {
  const file = join(run, 'file');
  writeFileSync(file, '');
  expect(() => new RunFolder(file, 'mine')).toThrow(FileError);
  expect(() => new RunFolder(join(file, 'deeper'), 'mine')).toThrow(
    /cannot make .*deeper: a part of the path is a file, not a folder/,
  );
});

test('a full disk is told as such, whoever wrote', async () => {
  const full = (): never => {
    throw Object.assign(new Error('ENOSPC: no space left on device, copyfile'), { code: 'ENOSPC' });
  };
  const failing = folder.stage('one', 1, (target) => {
    mkdirSync(join(target, 'model'));
    return Promise.resolve().then(full);
  });
  await expect(failing).rejects.toThrow(FileError);
  await expect(failing).rejects.toThrow(
    `cannot make ${join(run, 'one')}: the disk is full; free some space and run the same command again`,
  );
  expect(existsSync(join(run, 'one'))).toBe(false);
});
