import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  libtorchFiles,
  temporaryFolder,
  writeFiles,
  writeWheel,
  type LibtorchModule,
} from './fakes';

const module_ = resolve(__dirname, '../../cmake/libtorch.js');
const { ensureLibtorch } = jest.requireActual<LibtorchModule>(module_);

const arch = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
const tags = `cp311-cp311-manylinux_2_28_${arch}`;
const wheelName = `torch-2.13.0+cpu-${tags}.whl`;
const log = (): void => {};
let folder: string;
let wheels: string;
let env: NodeJS.ProcessEnv;

beforeEach(() => {
  folder = temporaryFolder();
  wheels = join(folder, 'wheels');
  mkdirSync(wheels);
  env = {
    ...process.env,
    PARE_CACHE: join(folder, 'cache'),
    PIP_CONFIG_FILE: '/dev/null',
    PIP_NO_INDEX: '1',
    PIP_FIND_LINKS: wheels,
    PYTHONPATH: '',
    PYTHONNOUSERSITE: '1',
  };
  delete env.LIBTORCH;
  delete env.PARE_CUDA;
  delete env.PARE_UNPINNED;
  // The steps' progress is not this test's output.
  jest.spyOn(process.stderr, 'write').mockReturnValue(true);
});
afterEach(() => {
  jest.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

function writeTorchWheel(): string {
  return writeWheel(join(wheels, wheelName), {
    ...libtorchFiles('torch/', '2.13'),
    'torch/share/cmake/Torch/TorchConfig.cmake': '',
    'torch/nn/__init__.py': 'not needed',
  });
}

/** What is left in the cache folder, besides the lock's temporary names. */
function cached(): string[] {
  return readdirSync(join(folder, 'cache', 'libtorch'));
}

test('a wheel from the configured index is checked, and its libtorch unpacked', async () => {
  const checksums = { [wheelName]: writeTorchWheel() };
  const found = await ensureLibtorch({ env, checksums, cuda: false, log });
  expect(found).toMatchObject({ version: '2.13', cuda: false, source: 'the cache' });
  expect(readdirSync(found.root).sort()).toEqual(['include', 'lib', 'share']);
  expect(cached()).toEqual([`2.13.0-cpu-${arch}`]);
  expect(existsSync(join(folder, 'cache', 'libtorch.lock'))).toBe(false);
}, 60_000);

test('a wheel that is not the pinned one is refused, and nothing is kept of it', async () => {
  const found = writeTorchWheel();
  const checksums = { [wheelName]: '0'.repeat(64) };
  await expect(ensureLibtorch({ env, checksums, cuda: false, log })).rejects.toThrow(
    `has the sha256 ${found}, but ${'0'.repeat(64)} is pinned`,
  );
  expect(cached()).toEqual([]);
}, 60_000);

test('a wheel without a pinned checksum needs a word of the user', async () => {
  writeTorchWheel();
  await expect(ensureLibtorch({ env, checksums: {}, cuda: false, log })).rejects.toThrow(
    /no checksum is pinned for torch-2\.13\.0\+cpu.*PARE_UNPINNED=1 accepts it/,
  );
  env.PARE_UNPINNED = '1';
  await expect(ensureLibtorch({ env, checksums: {}, cuda: false, log })).resolves.toMatchObject({
    version: '2.13',
  });
}, 60_000);

test('an index without the wheel gives one line that says what else can be done', async () => {
  const error = await ensureLibtorch({ env, checksums: {}, cuda: false, log }).catch(
    (reason: Error) => reason,
  );
  const { message } = error as Error;
  expect(message).toMatch(/cannot fetch torch==2\.13\.0\+cpu: .*No matching distribution/);
  expect(message).toMatch(/set LIBTORCH/);
  expect(message).not.toContain('\n');
}, 60_000);

/** A python3 that writes half a download and hangs the first time, and notes every download. */
function writeSlowPython(hang: boolean): string {
  const path = join(folder, 'python');
  writeFiles(folder, {
    python: [
      '#!/bin/bash',
      'if [ "$3" = download ]; then',
      `  echo download >> ${folder}/downloads`,
      ...(hang
        ? [
            'while [ "$1" != --dest ]; do shift; done',
            'head -c 1000 /dev/zero > "$2/half.whl"',
            `touch ${folder}/halfway`,
            'exec sleep 60',
          ]
        : []),
      'fi',
      'exec python3 "$@"',
      '',
    ].join('\n'),
  });
  chmodSync(path, 0o755);
  return path;
}

/** `ensureLibtorch` in a process of its own, in a process group of its own. */
function inProcess(options: object): { pid: number; ended: Promise<string> } {
  const code = `require(${JSON.stringify(module_)})
    .ensureLibtorch(JSON.parse(process.argv[1])).then((found) => console.log(found.root))`;
  const child = spawn(process.execPath, ['-e', code, JSON.stringify(options)], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = new Promise<string>((done) => child.on('close', () => done(output.trim())));
  return { pid: child.pid as number, ended };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 50));
}

test('a download that was killed starts over cleanly', async () => {
  const checksums = { [wheelName]: writeTorchWheel() };
  const first = inProcess({ env, checksums, cuda: false, python: writeSlowPython(true) });
  await until(() => existsSync(join(folder, 'halfway')));
  process.kill(-first.pid, 'SIGKILL');
  await first.ended;
  expect(cached()).toEqual([expect.stringMatching(/^tmp-/)]);
  const found = await ensureLibtorch({ env, checksums, cuda: false, log });
  expect(cached()).toEqual([`2.13.0-cpu-${arch}`]);
  expect(existsSync(join(found.root, 'lib', 'libtorch_cpu.so'))).toBe(true);
}, 60_000);

test('two installs at once: one downloads, the other waits for it', async () => {
  const checksums = { [wheelName]: writeTorchWheel() };
  const options = { env, checksums, cuda: false, python: writeSlowPython(false) };
  const roots = await Promise.all([inProcess(options).ended, inProcess(options).ended]);
  expect(roots[0]).toMatch(/torch$/);
  expect(roots[1]).toBe(roots[0]);
  expect(readFileSync(join(folder, 'downloads'), 'utf8')).toBe('download\n');
}, 60_000);

test("the CUDA wheel brings NVIDIA's wheels that it needs, laid out beside it", async () => {
  const linux = "sys_platform == 'linux'";
  const nvidia = (name: string, needs: string[] = []): [string, string] => {
    const file = `${name}-py3-none-manylinux2014_${arch}.whl`;
    const library = `nvidia/cu13/lib/lib${name.replace(/^nvidia_|-.*$/g, '')}.so`;
    return [file, writeWheel(join(wheels, file), { [library]: 'not a library' }, needs)];
  };
  const torch = `torch-2.13.0-${tags}.whl`;
  const toolkit = 'cuda_toolkit-13.0.3-py3-none-any.whl';
  writeTorchWheel(); // pip must not take the "+cpu" build for it
  const checksums = Object.fromEntries([
    [
      torch,
      writeWheel(join(wheels, torch), libtorchFiles('torch/', '2.13', true), [
        `cuda-toolkit[cublas,cudart]==13.0.3; ${linux}`,
        `nvidia-nccl-cu13==2.29.7; ${linux}`,
        "nvidia-windows==1.0; sys_platform == 'win32'",
        'sympy>=1.13.3',
      ]),
    ],
    [
      toolkit,
      writeWheel(
        join(wheels, toolkit),
        {},
        [
          `nvidia-cublas==13.1.*; ${linux} and extra == 'cublas'`,
          `nvidia-cuda-runtime<14,>=13; ${linux} and extra == 'cudart'`,
          `nvidia-nvjpeg==13.0.*; ${linux} and extra == 'nvjpeg'`,
        ],
        ['cublas', 'cudart', 'nvjpeg'],
      ),
    ],
    nvidia('nvidia_cublas-13.1.1', ['nvidia-cuda-nvrtc']),
    nvidia('nvidia_cuda_nvrtc-13.0.88'),
    nvidia('nvidia_cuda_runtime-13.0.96'),
    nvidia('nvidia_nccl_cu13-2.29.7'),
  ]);
  // Newer than the pinned one, and allowed by the range: the pinned one is taken.
  nvidia('nvidia_cuda_runtime-13.5.1');
  const found = await ensureLibtorch({ env, checksums, cuda: true, log });
  expect(found).toMatchObject({ cuda: true, version: '2.13' });
  const libraries = readdirSync(join(found.root, '..', 'nvidia', 'cu13', 'lib')).sort();
  expect(libraries).toEqual([
    'libcublas.so',
    'libcuda_nvrtc.so',
    'libcuda_runtime.so',
    'libnccl_cu13.so',
  ]);
}, 120_000);
