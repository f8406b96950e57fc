import type * as Fs from 'node:fs';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { FileError } from '../../lib/files';
import {
  dtypeSize,
  loadSafetensors,
  readSafetensors,
  SafetensorsError,
  scope,
  tensor,
  writeSafetensors,
} from '../../lib/torch';

// A copy whose functions can be replaced.
jest.mock('node:fs', () => ({ ...jest.requireActual<typeof Fs>('node:fs') }));

const reference = join(__dirname, '../oracle/vectors/safetensors.safetensors');

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-safetensors-'));
  path = join(dir, 'bad.safetensors');
});
afterEach(() => {
  jest.restoreAllMocks();
  rmSync(dir, { recursive: true });
});

function file(header: string | object, data: number = 0, length?: bigint): Uint8Array {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(length ?? BigInt(json.length));
  return Buffer.concat([start, json, Buffer.alloc(data)]);
}

function errorOf(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error('no error was thrown');
}

function expectRefused(bytes: Uint8Array, message: string | RegExp): void {
  writeFileSync(path, bytes);
  const error = errorOf(() => readSafetensors(path));
  expect(error).toBeInstanceOf(SafetensorsError);
  expect(error.message).toMatch(message);
  expect(error.message).toContain(path);
  expect(error.message).not.toContain('\n');
}

const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]): object => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

describe('broken files are refused in one line that names the file', () => {
  test.each<[string, Uint8Array, string]>([
    ['empty', new Uint8Array(0), 'is truncated: it has 0 bytes'],
    ['shorter than a length', new Uint8Array(7), 'is truncated: it has 7 bytes'],
    ['not safetensors', Buffer.from('<!DOCTYPE html>'), 'is not a safetensors file'],
    ['LFS pointer', Buffer.from('version https://git-lfs.github.com/spec/v1'), 'git lfs pull'],
    ['header cut', file('{}', 0, 3n), 'its header has 3 bytes, but the file 10'],
    ['length of 2^64 - 1', file('{}', 0, 2n ** 64n - 1n), 'is not a safetensors file'],
    ['no JSON', file('{"a":'), 'is not JSON'],
    ['no header at all', file(''), 'is not JSON'],
    ['no UTF-8', file('{"\u0000":1}').fill(0xff, 8), 'is not JSON'],
    ['an array', file('[]'), 'is not a JSON object'],
    ['null', file('null'), 'is not a JSON object'],
    ['metadata of numbers', file({ __metadata__: { a: 1 } }), '__metadata__'],
    ['metadata is a list', file({ __metadata__: [] }), '__metadata__'],
    ['no description', file({ a: 5 }), 'tensor "a" has no description'],
    ['no dtype', file({ a: { shape: [], data_offsets: [0, 0] } }), 'tensor "a" has no dtype'],
    ['negative size', file({ a: f32(0, 4, [-1]) }, 4), 'tensor "a" has no valid shape'],
    ['fraction', file({ a: f32(0, 4, [1.5]) }, 4), 'tensor "a" has no valid shape'],
    ['huge size', file({ a: f32(0, 4, [1e30]) }, 4), 'tensor "a" has no valid shape'],
    ['no shape', file({ a: f32(0, 4, 'x') }, 4), 'tensor "a" has no valid shape'],
    ['one offset', file({ a: { dtype: 'F32', shape: [], data_offsets: [0] } }), 'offsets'],
    ['backwards', file({ a: f32(4, 0, []) }, 4), 'tensor "a" has -4 bytes, but F32 [] needs 4'],
    ['size mismatch', file({ a: f32(0, 8, [3]) }, 8), 'has 8 bytes, but F32 [3] needs 12'],
    ['product overflows', file({ a: f32(0, 8, [2 ** 52, 2 ** 52]) }, 8), 'has 8 bytes'],
    ['truncated data', file({ a: f32(0, 8) }, 7), 'it is truncated'],
    ['data left over', file({ a: f32(0, 8) }, 9), 'has 1 bytes after the last tensor'],
    ['overlap', file({ a: f32(0, 8), b: f32(4, 12) }, 12), 'tensor "b" overlaps'],
    ['same place', file({ a: f32(0, 8), b: f32(0, 8) }, 8), 'tensor "b" overlaps'],
    ['gap', file({ a: f32(0, 4), b: f32(8, 12) }, 12), 'a gap before tensor "b"'],
    ['gap at the start', file({ a: f32(4, 8) }, 8), 'a gap before tensor "a"'],
    [
      'a name twice',
      file(`{"a":${JSON.stringify(f32(0, 4))},"\\u0061":${JSON.stringify(f32(0, 4))}}`, 4),
      'has "a" twice',
    ],
  ])('%s', (_, bytes, message) => expectRefused(bytes, message));

  test.each(['I8', 'I16', 'U16', 'U32', 'U64', 'F8_E4M3', 'F8_E5M2', 'C64', 'f32'])(
    'dtype %s by its name',
    (dtype) =>
      expectRefused(
        file({ a: { dtype, shape: [0], data_offsets: [0, 0] } }),
        `tensor "a" has dtype ${dtype}, which is not supported`,
      ),
  );

  test('cut anywhere', () => {
    const whole = readFileSync(reference);
    for (let length = 0; length < whole.length; length += length < 16 ? 1 : 7) {
      writeFileSync(path, whole.subarray(0, length));
      expect(errorOf(() => readSafetensors(path))).toBeInstanceOf(SafetensorsError);
    }
  });

  test('no such file, a folder', () => {
    expect(errorOf(() => readSafetensors(join(dir, 'missing')))).toBeInstanceOf(FileError);
    expect(errorOf(() => readSafetensors(dir)).message).toContain(`cannot read ${dir}`);
  });

  test('shortened after it was opened', () => {
    writeFileSync(path, file({ a: f32(0, 8) }, 8));
    using open = readSafetensors(path);
    truncateSync(path, 60);
    const error = errorOf(() => open.tensor('a'));
    expect(error).toBeInstanceOf(SafetensorsError);
    expect(error.message).toContain('the file ends before the tensor does');
  });

  test('an empty dict and an empty file of tensors are no error', () => {
    writeFileSync(path, file('{}'));
    expect(loadSafetensors(path).size).toBe(0);
  });
});

describe('any mutation gives a SafetensorsError or a correct read', () => {
  const whole = readFileSync(reference);
  const headerEnd = 8 + Number(whole.readBigUInt64LE());

  function check(bytes: Uint8Array): void {
    writeFileSync(path, bytes);
    try {
      scope(() => {
        using open = readSafetensors(path);
        let total = 0;
        for (const name of open.names()) {
          const info = open.info(name);
          const t = open.tensor(name);
          expect([t.dtype, t.shape]).toEqual([info.dtype, info.shape]);
          const read = t.toBytes();
          expect(read.length).toBe(t.numel * dtypeSize[t.dtype]);
          total += read.length;
        }
        // Every byte of the data belongs to exactly one tensor.
        const data = bytes.length - 8 - Number(Buffer.from(bytes).readBigUInt64LE());
        expect(total).toBe(data);
      });
    } catch (error) {
      if (!(error instanceof SafetensorsError)) throw error;
      expect(error.message).not.toContain('\n');
    }
  }

  test('bytes of the header replaced', () => {
    const edit = fc.tuple(fc.nat(headerEnd - 1), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of edits) bytes[at] = value;
        check(bytes);
      }),
      { seed: 1, numRuns: 400 },
    );
  });

  test('pieces of the header moved, repeated or dropped', () => {
    const at = fc.nat(headerEnd - 8);
    fc.assert(
      fc.property(at, at, at, fc.nat(40), (x, y, to, data) => {
        const header = whole.subarray(8, headerEnd).toString('latin1');
        const piece = header.slice(Math.min(x, y), Math.max(x, y));
        const json = Buffer.from(header.slice(0, to) + piece + header.slice(to), 'latin1');
        check(file(json.toString(), data));
      }),
      { seed: 2, numRuns: 300 },
    );
  });

  test('well-formed JSON with lying values', () => {
    const size = fc.oneof(fc.nat(5), fc.maxSafeInteger(), fc.double(), fc.constant(null));
    const entry = fc.record(
      {
        dtype: fc.oneof(fc.constantFrom('F32', 'U8', 'BOOL', 'I64', 'I16'), fc.string()),
        shape: fc.array(size, { maxLength: 3 }),
        data_offsets: fc.array(size, { maxLength: 3 }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.dictionary(fc.string(), entry), fc.nat(64), (header, data) =>
        check(file(header, data)),
      ),
      { seed: 3, numRuns: 300 },
    );
  });
});

describe('writing', () => {
  test('names given twice and sources that lie', () => {
    const a = tensor([1]);
    const lying = (bytes: number) => ({
      dtype: 'float32' as const,
      shape: [1],
      write: (append: (chunk: Uint8Array) => void) => append(new Uint8Array(bytes)),
    });
    const cases: [() => void, string][] = [
      [() => writeSafetensors(path, [['a', a], ['a', a]]), 'the name a is taken'], // prettier-ignore
      [() => writeSafetensors(path, [['__metadata__', a]]), 'the name __metadata__ is taken'],
      [() => writeSafetensors(path, [['a', lying(3)]]), 'gave 3 bytes, its shape needs 4'],
      [() => writeSafetensors(path, [['a', lying(5)]]), 'gave 5 bytes, its shape needs 4'],
    ];
    for (const [run, message] of cases) {
      const error = errorOf(run);
      expect(error).toBeInstanceOf(SafetensorsError);
      expect(error.message).toContain(path);
      expect(error.message).toContain(message);
    }
    expect(readdirSync(dir)).toEqual([]);
    a.dispose();
  });

  test('a full disk leaves the old file and nothing else', () => {
    writeSafetensors(path, [['a', tensor([1])]]);
    const before = readFileSync(path);
    const fs = jest.requireMock<typeof Fs>('node:fs');
    const { writeSync } = fs;
    let room = 100;
    jest.spyOn(fs, 'writeSync').mockImplementation(((fd: number, chunk: Uint8Array, at: number) => {
      if (room === 0) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
      const written = writeSync(fd, chunk, at, Math.min(room, chunk.length - at));
      room -= written;
      return written;
    }) as never);
    const error = errorOf(() =>
      scope(() => writeSafetensors(path, [['b', tensor(new Float32Array(1000))]])),
    );
    expect(error).toBeInstanceOf(FileError);
    expect(error.message).toBe(
      `cannot write ${path}: the disk is full; free some space and run the same command again`,
    );
    expect(readdirSync(dir)).toEqual(['bad.safetensors']);
    expect(readFileSync(path).equals(before)).toBe(true);
  });
});
