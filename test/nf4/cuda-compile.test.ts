/**
 * The GPU's kernels compile for Ampere and Hopper and to PTX for what comes after, without warnings;
 * they keep everything in registers, and no more shared memory than is there without asking.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const native = join(__dirname, '../../native');
const architectures = ['sm_80', 'sm_90'];
const mostShared = 48 * 1024;
/** Registers a thread, so that as many threads as are meant to share a multiprocessor's 65,536. */
const mostRegisters: [kernel: RegExp, registers: number][] = [
  [/tensorCoreKernel/, 128],
  [/smallBatchTensorKernel\w*Li1E/, 64],
  [/smallBatchTensorKernel\w*Li2E/, 128],
  [/quantize|sumSplits/, 64],
  [/updateKernel/, 64],
  [/smallBatchFloatKernel/, 255],
];

const nvcc = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/cuda/bin']
  .map((folder) => join(folder, 'nvcc'))
  .find((file) => existsSync(file));

if (nvcc === undefined) console.warn('skipped: compiling the CUDA kernels needs nvcc');
const withNvcc = nvcc === undefined ? test.skip : test;

interface Kernel {
  name: string;
  architecture: string;
  frame: string;
  registers: number;
  shared: number;
}

/** What ptxas says of each kernel. */
function kernelsOf(log: string): Kernel[] {
  const entry =
    /Compiling entry function '(\w+)' for '(\w+)'\n.*\n\s*(\d+ bytes stack frame.*)\n.*Used (\d+) registers(.*)/g;
  return Array.from(log.matchAll(entry), ([, name, architecture, frame, registers, rest]) => ({
    name: name!,
    architecture: architecture!,
    frame: frame!,
    registers: Number(registers),
    shared: Number(/(\d+) bytes smem/.exec(rest!)?.[1] ?? 0),
  }));
}

function compile(source: string, object: string): string {
  const code = [...architectures, 'compute_90'].map(
    (name) => `-gencode=arch=${name.replace('sm', 'compute')},code=${name}`,
  );
  const options = ['-std=c++17', '-O3', '-Xptxas=-v', '-Xcompiler=-Wall,-Wextra', ...code];
  const result = spawnSync(nvcc!, [...options, '-c', join(native, source), '-o', object], {
    encoding: 'utf8',
  });
  if (result.status !== 0) throw new Error(`nvcc failed on ${source}:\n${result.stderr}`);
  return result.stdout + result.stderr;
}

const sources = readdirSync(native, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.cu'),
);

test('there are kernels', () => expect(sources.length).toBeGreaterThan(4));

withNvcc.each(sources)(
  '%s',
  (source) => {
    const folder = mkdtempSync(join(tmpdir(), 'pare-cuda-'));
    try {
      const log = compile(source, join(folder, 'kernel.o'));
      expect(log).not.toMatch(/warning/i);
      const kernels = kernelsOf(log);
      const perArchitecture = architectures.map(
        (a) => kernels.filter(({ architecture }) => architecture === a).length,
      );
      expect(perArchitecture[0]).toBeGreaterThan(0);
      expect(perArchitecture[1]).toBe(perArchitecture[0]);
      expect(kernels).toHaveLength(log.match(/Compiling entry function/g)!.length);
      for (const { name, architecture, frame, registers, shared } of kernels) {
        expect([name, architecture, frame]).toEqual([
          name,
          architecture,
          '0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads',
        ]);
        const limit = mostRegisters.find(([kernel]) => kernel.test(name));
        expect([name, limit]).toEqual([name, expect.anything()]);
        expect(registers).toBeLessThanOrEqual(limit![1]);
        expect(shared).toBeLessThanOrEqual(mostShared);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  600_000,
);
