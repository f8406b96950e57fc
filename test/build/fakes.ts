import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export interface Libtorch {
  root: string;
  version: string;
  cuda: boolean;
  source: string;
}

interface Options {
  env?: NodeJS.ProcessEnv;
  python?: string;
  cuda?: boolean;
  checksums?: Record<string, string>;
  log?: (line: string) => void;
}

/** cmake/libtorch.js */
export interface LibtorchModule {
  findLibtorch(options?: Options): Libtorch | undefined;
  ensureLibtorch(options?: Options): Promise<Libtorch>;
  cacheFolder(env: NodeJS.ProcessEnv): string;
}

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), 'pare-build-'));
}

export function writeFiles(folder: string, files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

/** The files by which libtorch is known, as they lie in a wheel's torch/. */
export function libtorchFiles(
  prefix: string,
  version: string,
  cuda = false,
): Record<string, string> {
  const [major, minor] = version.split('.');
  return {
    [`${prefix}lib/libtorch_cpu.so`]: 'not a library',
    ...(cuda && { [`${prefix}lib/libtorch_cuda.so`]: 'not a library' }),
    [`${prefix}include/torch/headeronly/version.h`]: `#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n`,
  };
}

/**
 * Makes a wheel that pip accepts.
 * @returns its sha256
 */
export function writeWheel(
  path: string,
  files: Record<string, string>,
  requirements: string[] = [],
  extras: string[] = [],
): string {
  const [name = '', version = '', ...tags] = path
    .replace(/^.*\//, '')
    .replace(/\.whl$/, '')
    .split('-');
  const info = `${name}-${version}.dist-info`;
  const members = {
    ...files,
    [`${info}/METADATA`]: [
      'Metadata-Version: 2.1',
      `Name: ${name.replace(/_/g, '-')}`,
      `Version: ${version}`,
      ...extras.map((extra) => `Provides-Extra: ${extra}`),
      ...requirements.map((requirement) => `Requires-Dist: ${requirement}`),
      '',
    ].join('\n'),
    [`${info}/WHEEL`]: `Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: ${tags.join('-')}\n`,
    [`${info}/RECORD`]: '',
  };
  const zip =
    'import json, sys, zipfile\n' +
    'with zipfile.ZipFile(sys.argv[1], "w") as z:\n' +
    '    for name, text in json.load(sys.stdin).items(): z.writestr(name, text)\n';
  execFileSync('python3', ['-c', zip, path], { input: JSON.stringify(members) });
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
