/** The GPU's kernels compile for Ampere and Hopper, and keep everything in registers. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const kernels = join(__dirname, '../../native/nf4/cuda');
const architectures = ['sm_80', 'sm_90'];

const nvcc = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/cuda/bin']
  .map((folder) => join(folder, 'nvcc'))
  .find((file) => existsSync(file));

if (nvcc === undefined) console.warn('skipped: compiling the CUDA kernels needs nvcc');
const withNvcc = nvcc === undefined ? test.skip : test;

/** What ptxas says of each kernel. */
function compile(source: string, object: string): string {
  const code = architectures.map((name) => {
    return `-gencode=arch=${name.replace('sm', 'compute')},code=${name}`;
  });
  const options = ['-std=c++17', '-O3', '-Xptxas=-v', '-Xcompiler=-Wall,-Wextra', ...code];
  const result = spawnSync(nvcc!, [...options, '-c', join(kernels, source), '-o', object], {
    encoding: 'utf8',
  });
  if (result.status !== 0) throw new Error(`nvcc failed on ${source}:\n${result.stderr}`);
  return result.stdout + result.stderr;
}

withNvcc.each(readdirSync(kernels).filter((name) => name.endsWith('.cu')))(
  '%s compiles without warnings and without spilling',
  (source) => {
    const folder = mkdtempSync(join(tmpdir(), 'pare-cuda-'));
    try {
      const log = compile(source, join(folder, 'kernel.o'));
      expect(log).not.toMatch(/warning/i);
      for (const architecture of architectures) {
        const compiled = log.match(new RegExp(`entry function '\\w+' for '${architecture}'`, 'g'));
        expect(compiled?.length ?? 0).toBeGreaterThan(0);
      }
      const frames = log.match(/\d+ bytes stack frame, .*/g) ?? [];
      expect(frames.length).toBeGreaterThan(0);
      for (const frame of frames) {
        expect(frame).toBe('0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads');
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  600_000,
);
