import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AddonNotFoundError, loadAddon } from '../../lib/torch/load-addon';
import { temporaryFolder, writeFiles } from './fakes';

let folder: string;
const before = process.env.PARE_ADDON;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  if (before === undefined) delete process.env.PARE_ADDON;
  else process.env.PARE_ADDON = before;
});

/** The message for an addon at PARE_ADDON. */
function failure(path: string): string {
  process.env.PARE_ADDON = path;
  try {
    loadAddon();
  } catch (error) {
    expect(error).toBeInstanceOf(AddonNotFoundError);
    return (error as Error).message;
  }
  throw new Error('it was loaded');
}

test('the addon that was built is loaded', () => {
  delete process.env.PARE_ADDON;
  expect(loadAddon()).toHaveProperty('torchVersion');
});

test('an addon that is not there', () => {
  const path = join(folder, 'pare.node');
  expect(failure(path)).toBe(`the native addon ${path} is missing; correct or unset PARE_ADDON`);
});

test('a file that is no library', () => {
  const path = join(folder, 'pare.node');
  writeFileSync(path, 'x'.repeat(10_000));
  expect(failure(path)).toMatch(/cannot be loaded: it is no library for this machine; correct/);
});

test('an addon whose libtorch was removed', () => {
  writeFiles(folder, { 'torch.c': 'int torch(void) { return 1; }\n' });
  writeFiles(folder, { 'addon.c': 'int torch(void);\nint addon(void) { return torch(); }\n' });
  const compile = (...args: string[]): unknown =>
    execFileSync(process.env.CXX ?? 'g++', ['-shared', '-fPIC', ...args], { cwd: folder });
  compile('torch.c', '-o', 'libtorch_gone.so');
  compile('addon.c', '-o', 'pare.node', '-L.', '-ltorch_gone');
  rmSync(join(folder, 'libtorch_gone.so'));
  expect(failure(join(folder, 'pare.node'))).toMatch(
    /libtorch is gone \(libtorch_gone\.so is not where it was when the addon was built\)/,
  );
});
