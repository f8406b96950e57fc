import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { libtorchFiles, temporaryFolder, writeFiles, type LibtorchModule } from './fakes';

const { findLibtorch, cacheFolder } = jest.requireActual<LibtorchModule>('../../cmake/libtorch.js');

const arch = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
let folder: string;
let env: NodeJS.ProcessEnv;

beforeEach(() => {
  folder = temporaryFolder();
  env = { ...process.env, HOME: folder, PARE_CACHE: join(folder, 'cache'), PYTHONPATH: '' };
  delete env.LIBTORCH;
  delete env.PARE_CUDA;
  // Only what the test installs: neither a virtual environment's torch nor the user's.
  env.PYTHONNOUSERSITE = '1';
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A Python torch that must not be imported, only found. */
function installTorch(version: string, cuda = false): void {
  const site = join(folder, 'site');
  writeFiles(join(site, 'torch'), {
    '__init__.py': 'raise SystemError("imported")',
    ...libtorchFiles('', version, cuda),
  });
  env.PYTHONPATH = site;
}

function fillCache(kind: string): string {
  const root = join(folder, 'cache', 'libtorch', `2.13.0-${kind}-${arch}`, 'torch');
  writeFiles(root, libtorchFiles('', '2.13', kind === 'cuda'));
  return root;
}

test('LIBTORCH comes first, then the installed torch, then the cache', () => {
  const cached = fillCache('cpu');
  expect(findLibtorch({ env, cuda: false })).toMatchObject({ root: cached, source: 'the cache' });
  installTorch('2.12');
  expect(findLibtorch({ env, cuda: false })).toMatchObject({
    root: join(folder, 'site', 'torch'),
    version: '2.12',
  });
  writeFiles(join(folder, 'own'), libtorchFiles('', '2.11'));
  env.LIBTORCH = join(folder, 'own');
  expect(findLibtorch({ env, cuda: false })).toMatchObject({ root: env.LIBTORCH, version: '2.11' });
});

test('LIBTORCH may name the folder above, as the unzipped archive has it', () => {
  writeFiles(join(folder, 'own'), libtorchFiles('libtorch/', '2.13'));
  env.LIBTORCH = join(folder, 'own');
  expect(findLibtorch({ env, cuda: false })?.root).toBe(join(folder, 'own', 'libtorch'));
});

test('a LIBTORCH that is empty or too old is an error that names it, not passed over', () => {
  fillCache('cpu');
  env.LIBTORCH = join(folder, 'nothing');
  mkdirSync(env.LIBTORCH);
  expect(() => findLibtorch({ env, cuda: false })).toThrow(/nothing holds no libtorch: set it to/);
  writeFiles(env.LIBTORCH, libtorchFiles('', '1.13'));
  expect(() => findLibtorch({ env, cuda: false })).toThrow(/is libtorch 1\.13, too old/);
});

test('an installed torch that is too old is passed over, with a line that says so', () => {
  installTorch('2.10');
  const lines: string[] = [];
  expect(findLibtorch({ env, cuda: false, log: (line) => lines.push(line) })).toBeUndefined();
  expect(lines).toEqual([expect.stringContaining('passing over the Python torch 2.10')]);
});

test('a GPU asks for a CUDA build; without one any build serves, unless PARE_CUDA=0', () => {
  installTorch('2.13');
  expect(findLibtorch({ env, cuda: true })).toBeUndefined();
  installTorch('2.13', true);
  expect(findLibtorch({ env, cuda: true })?.cuda).toBe(true);
  expect(findLibtorch({ env, cuda: false })?.cuda).toBe(true);
  env.PARE_CUDA = '0';
  expect(findLibtorch({ env })).toBeUndefined();
  const cached = fillCache('cpu');
  expect(findLibtorch({ env })?.root).toBe(cached);
});

test('the cache lies where PARE_CACHE, XDG_CACHE_HOME or HOME say', () => {
  expect(cacheFolder({ HOME: '/home/ada' })).toBe('/home/ada/.cache/pare');
  expect(cacheFolder({ HOME: '/home/ada', XDG_CACHE_HOME: '/var/c' })).toBe('/var/c/pare');
  expect(cacheFolder({ XDG_CACHE_HOME: '/var/c', PARE_CACHE: '/p' })).toBe('/p');
});
