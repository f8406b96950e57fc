/**
 * The package as npm packs and installs it, in a folder far from the checkout, with the prebuilt
 * addon of this machine and without a network: the packages that it depends on are copies of ours.
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

export const root = join(__dirname, '../..');

const { closure } = jest.requireActual<{ closure(root: string, names: string[]): string[] }>(
  '../../cmake/closure.js',
);

export interface Finished {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs a program in `cwd`, as from a shell of its own: nothing of npm's or the tests' is passed on. */
export async function execute(
  cwd: string,
  [command, ...args]: readonly string[],
  variables: NodeJS.ProcessEnv = {},
): Promise<Finished> {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm_|PARE_ADDON|NODE_|JEST_)/i.test(name)),
  );
  const options = { cwd, env: { ...env, OMP_NUM_THREADS: '1', ...variables } };
  try {
    return { exitCode: 0, ...(await promisify(execFile)(command!, args, options)) };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { exitCode: code, stdout, stderr };
  }
}

/** Runs it and gives its standard output. */
export async function succeed(...args: Parameters<typeof execute>): Promise<string> {
  const { exitCode, stdout, stderr } = await execute(...args);
  if (exitCode !== 0) throw new Error(`${args[1].join(' ')}: ${exitCode}\n${stdout}\n${stderr}`);
  return stdout;
}

export interface Packed {
  folder: string;
  /** The tarballs of the package and of its addon for this platform. */
  main: string;
  platform: string;
}

/** Packs both; the caller removes the folder. */
export async function pack(): Promise<Packed> {
  const folder = mkdtempSync(join(tmpdir(), 'pare-packed-'));
  const packages = join(folder, 'packages');
  // The package names the platform packages that it finds there.
  for (const script of ['pack-platform.js', 'pack-package.js']) {
    await succeed(root, [process.execPath, join(root, 'cmake', script), packages]);
  }
  const files = readdirSync(packages).map((file) => join(packages, file));
  const isPlatform = (file: string): boolean => basename(file).startsWith('pare-addon-');
  return {
    folder,
    main: files.find((file) => !isPlatform(file))!,
    platform: files.find(isPlatform)!,
  };
}

/** Makes a program's folder and installs tarballs there, with npm's `flags`. */
export async function install(
  folder: string,
  tarballs: readonly string[],
  flags: readonly string[] = [],
): Promise<string> {
  const names = Object.keys(
    (jest.requireActual<object>('../../package.json') as { dependencies: object }).dependencies,
  );
  for (const name of closure(root, [...names, '@types/node'])) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  const program = { name: 'program', private: true, devDependencies: { '@types/node': '*' } };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(program));
  const quiet = ['--offline', '--no-audit', '--no-fund', '--foreground-scripts', ...flags];
  return succeed(folder, ['npm', 'install', ...quiet, ...tarballs]);
}
