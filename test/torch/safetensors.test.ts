import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  arange,
  keep,
  loadSafetensors,
  memory,
  readSafetensors,
  SafetensorsError,
  scope,
  tensor,
  writeSafetensors,
  type Tensor,
} from '../../lib/torch';

const vectors = join(__dirname, '../oracle/vectors');
const reference = join(vectors, 'safetensors.safetensors');
const expected = JSON.parse(readFileSync(join(vectors, 'safetensors.json'), 'utf8')) as {
  metadata: Record<string, string>;
  tensors: Record<string, { dtype: string; shape: number[]; values: number[] }>;
};

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-safetensors-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

function values(t: Tensor): number[] {
  return scope(() => t.to('float64').toArray());
}

describe('reading what the reference implementation wrote', () => {
  test('every dtype, a scalar, an empty tensor, names with escapes', () => {
    using file = readSafetensors(reference);
    expect(file.metadata).toEqual(expected.metadata);
    expect(new Set(file.names())).toEqual(new Set(Object.keys(expected.tensors)));
    scope(() => {
      for (const [name, want] of Object.entries(expected.tensors)) {
        const { dtype, shape } = file.info(name);
        expect([name, dtype, shape]).toEqual([name, want.dtype, want.shape]);
        const t = file.tensor(name);
        expect([t.dtype, t.shape]).toEqual([want.dtype, want.shape]);
        expect(values(t)).toEqual(want.values);
      }
    });
  });

  test('names follow the order of the data', () => {
    using file = readSafetensors(reference);
    // The reference sorts by width of the dtype, widest first.
    expect(file.names().slice(0, 2).sort()).toEqual(['f64', 'i64']);
  });

  test('unknown and closed', () => {
    const file = readSafetensors(reference);
    expect(() => file.tensor('nope')).toThrow(`${reference} has no tensor nope`);
    file.close();
    file.close();
    expect(() => file.tensor('f32')).toThrow(SafetensorsError);
  });
});

describe('mapped tensors', () => {
  const path = (): string => join(dir, 'mapped.safetensors');

  test('live on after close, removal and replacement of the file', () => {
    writeSafetensors(path(), [['a', tensor([1, 2, 3])]]);
    const a = loadSafetensors(path()).get('a')!;
    writeSafetensors(path(), [['a', a.mul(2)]]);
    expect(a.toArray()).toEqual([1, 2, 3]);
    expect(loadSafetensors(path()).get('a')!.toArray()).toEqual([2, 4, 6]);
    rmSync(path());
    expect(a.toArray()).toEqual([1, 2, 3]);
    a.dispose();
  });

  test('a change in place stays in memory', () => {
    writeSafetensors(path(), [['a', tensor([1, 2, 3])]]);
    const before = readFileSync(path());
    const state = loadSafetensors(path());
    state.get('a')!.mul_(5);
    expect(state.get('a')!.toArray()).toEqual([5, 10, 15]);
    expect(loadSafetensors(path()).get('a')!.toArray()).toEqual([1, 2, 3]);
    writeSafetensors(path(), state);
    expect(readFileSync(path()).equals(before)).toBe(false);
    expect(loadSafetensors(path()).get('a')!.toArray()).toEqual([5, 10, 15]);
  });

  test('misaligned data is copied and right', () => {
    scope(() => {
      writeSafetensors(path(), [
        ['odd', tensor([1, 2, 3], { dtype: 'uint8' })],
        ['wide', tensor([1.5, -2.5], { dtype: 'float64' })],
      ]);
      expect(loadSafetensors(path()).get('wide')!.toArray()).toEqual([1.5, -2.5]);
    });
  });

  test('a scope frees them, and a thousand mappings leave nothing behind', () => {
    const own = join(dir, 'thousand.safetensors');
    writeSafetensors(own, [['a', arange(0, 5000)]]);
    const before = memory();
    const total = scope(() => {
      let sum = 0;
      for (let i = 0; i < 1000; i++) {
        sum += scope(() => loadSafetensors(own).get('a')!.sum().item());
      }
      return sum;
    });
    expect(total).toBe(1000 * 12497500);
    expect(memory()).toEqual(before);
    const maps = readFileSync('/proc/self/maps', 'utf8').split('\n');
    expect(maps.filter((line) => line.includes('thousand.safetensors'))).toEqual([]);
  });
});

describe('writing', () => {
  const path = (): string => join(dir, 'written.safetensors');

  test('what is read back is what was written, byte for byte, twice the same', () => {
    const all = loadSafetensors(reference);
    writeSafetensors(path(), all);
    const first = readFileSync(path());
    const again = readSafetensors(path());
    expect(again.metadata).toEqual({ format: 'pt' });
    expect(again.names()).toEqual([...all.keys()]);
    for (const [name, want] of all) {
      const got = again.tensor(name);
      expect([name, got.dtype, got.shape]).toEqual([name, want.dtype, want.shape]);
      expect(got.toBytes()).toEqual(want.toBytes());
    }
    writeSafetensors(path(), all);
    expect(readFileSync(path()).equals(first)).toBe(true);
    // The data of the file that the reference wrote, after a header of another length.
    const data = (file: Buffer): Buffer => file.subarray(8 + Number(file.readBigUInt64LE()));
    expect(data(first).equals(data(readFileSync(reference)))).toBe(true);
    expect(first.readBigUInt64LE() % 8n).toBe(0n);
  });

  test('a parameter, a view and a tensor of several chunks', () => {
    const big = keep(arange(0, 3_000_000));
    const matrix = tensor(
      [
        [1, 2],
        [3, 4],
      ],
      { requiresGrad: true },
    );
    scope(() => {
      writeSafetensors(path(), [
        ['big', big],
        ['transposed', matrix.transpose(0, 1)],
        ['parameter', matrix],
      ]);
      const state = loadSafetensors(path());
      expect(state.get('big')!.equal(big)).toBe(true);
      expect(state.get('transposed')!.toArray()).toEqual([1, 3, 2, 4]);
      expect(state.get('parameter')!.toArray()).toEqual([1, 2, 3, 4]);
    });
    big.dispose();
  });

  test('sources are asked one after the other, when their turn comes', () => {
    const order: string[] = [];
    const source = (name: string, bytes: number) =>
      [
        name,
        {
          dtype: 'uint8' as const,
          shape: [bytes],
          write(append: (chunk: Uint8Array) => void) {
            order.push(name);
            for (let i = 0; i < bytes; i++) append(Uint8Array.of(i));
          },
        },
      ] as const;
    writeSafetensors(path(), [source('2', 3), source('1', 2)], {});
    expect(order).toEqual(['2', '1']);
    const file = readSafetensors(path());
    expect(file.names()).toEqual(['2', '1']);
    expect(file.metadata).toEqual({});
    expect(file.tensor('2').toArray()).toEqual([0, 1, 2]);
  });
});
