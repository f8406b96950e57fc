/** Kernels of native/ on this machine: see emulator.h and cases.cc beside this file. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '../../lib/torch';

// A build script, and plain JavaScript.
// eslint-disable-next-line @typescript-eslint/no-require-imports
const { buildEmulator } = require('../../cmake/emulator.js') as {
  buildEmulator(sanitizer: string): Promise<string>;
};

/** What watches the kernels: `PARE_EMULATOR=address` in the suite of the sanitizers, else threads. */
export const sanitizer: string = process.env.PARE_EMULATOR ?? 'thread';

export interface KernelCase {
  /** Of the function in cases.cc. */
  name: string;
  args: readonly number[];
  /** Empty for a null pointer. */
  buffers: readonly (Uint8Array | Uint16Array | Float32Array | BigInt64Array | Tensor)[];
  /** How many buffers it gives. */
  outputs?: number;
}

/** `Element` of native/cuda/element.h. */
export const elements = { float32: 0, bfloat16: 1, float16: 2 } as const;

export interface Outcome {
  status: number | null;
  stderr: string;
  /** By case, the buffers that it gave; of all cases if the program ended well. */
  results: Uint8Array[][];
}

/** @param backwards whether the threads of a block take turns in the other order */
export async function tryCases(
  cases: readonly KernelCase[],
  { backwards = false } = {},
): Promise<Outcome> {
  const program = await buildEmulator(sanitizer);
  const folder = mkdtempSync(join(tmpdir(), 'pare-emulator-'));
  try {
    const [from, to] = [join(folder, 'in'), join(folder, 'out')];
    writeFileSync(from, Buffer.concat(cases.flatMap(encode)));
    const { status, stderr } = spawnSync(program, [from, to], {
      encoding: 'utf8',
      env: {
        ...process.env,
        // As the suite of the sanitizers sets it for Node; this program brings its own.
        LD_PRELOAD: '',
        ...(backwards ? { PARE_EMULATOR_BACKWARDS: '1' } : {}),
        // A fiber is a thread to the sanitizer, with a history of its own.
        TSAN_OPTIONS: 'halt_on_error=1:history_size=0:report_thread_leaks=0',
        ASAN_OPTIONS: 'detect_stack_use_after_return=0',
        UBSAN_OPTIONS: 'print_stacktrace=1',
      },
    });
    return { status, stderr, results: status === 0 ? decode(cases, readFileSync(to)) : [] };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The buffers that each case gives, or the error with what the sanitizer reports. */
export async function runCases(
  cases: readonly KernelCase[],
  options?: { backwards?: boolean },
): Promise<Uint8Array[][]> {
  const { status, stderr, results } = await tryCases(cases, options);
  if (status !== 0) throw new Error(`the emulated kernels ended with ${status}:\n${stderr}`);
  return results;
}

function bytesOf(buffer: KernelCase['buffers'][number]): Uint8Array {
  if (!ArrayBuffer.isView(buffer)) return buffer.toBytes();
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

function encode({ name, args, buffers }: KernelCase): Uint8Array[] {
  return [
    Buffer.from(`${name} ${buffers.length} ${args.join(' ')}\n`),
    ...buffers.flatMap((buffer) => {
      const size = Buffer.alloc(8);
      const bytes = bytesOf(buffer);
      size.writeBigInt64LE(BigInt(bytes.length));
      return [size, bytes];
    }),
  ];
}

function decode(cases: readonly KernelCase[], written: Buffer): Uint8Array[][] {
  let at = 0;
  const next = (): Uint8Array => {
    const size = Number(written.readBigInt64LE(at));
    at += 8 + size;
    return Uint8Array.from(written.subarray(at - size, at));
  };
  return cases.map(({ outputs = 1 }) => Array.from({ length: outputs }, next));
}
