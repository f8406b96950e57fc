/** How tensors are laid out in files, and how files are read ahead of their use. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pieceBytes, ReadAhead, type FileRange } from '../../lib/qwen2-audio/read-ahead';
import { planShards, shardIndex } from '../../lib/qwen2-audio/shards';
import { SafetensorsError } from '../../lib/torch';

let folder: string;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'pare-shards-'))));
afterAll(() => rmSync(folder, { recursive: true }));

const description = (name: string): string => `${name}.quant_state.bitsandbytes__nf4`;

describe('shards', () => {
  const tensors = [
    { name: 'a', dtype: 'uint8', shape: [24] },
    { name: 'b', dtype: 'uint8', shape: [3] },
    { name: description('a'), dtype: 'uint8', shape: [100] },
    { name: 'c', dtype: 'bfloat16', shape: [3] },
    { name: 'd', dtype: 'float32', shape: [3] },
    { name: 'e', dtype: 'bfloat16', shape: [4] },
  ] as const;

  test('keep the order, but for what would put others where they cannot be mapped', () => {
    const [shard, ...others] = planShards(tensors);
    expect(others).toEqual([]);
    expect(shard!.file).toBe('model.safetensors');
    const names = ['a', 'e', 'd', 'c', 'b', description('a')];
    expect(shard!.tensors.map(({ name }) => name)).toEqual(names);
    expect(shard!.headerLength % 8).toBe(0);
  });

  test('do not depend on the length of a description', () => {
    const longer = tensors.map((tensor) =>
      tensor.name === description('a') ? { ...tensor, shape: [117] } : tensor,
    );
    for (const limit of [5e9, 300, 40]) {
      const plan = (given: typeof longer): unknown =>
        planShards(given, limit).map(({ file, tensors: some, headerLength }) => {
          return [file, some.map(({ name }) => name), headerLength];
        });
      expect(plan(longer)).toEqual(plan([...tensors]));
    }
  });

  test('end before they are too large, unless one tensor is', () => {
    const shards = planShards(tensors, 40);
    const names = shards.map(({ tensors: some }) => some.map(({ name }) => name));
    expect(names).toEqual([['a', 'b'], [description('a')], ['d', 'e', 'c'].sort(byData)]);
    expect(shards[2]!.file).toBe('model-00003-of-00003.safetensors');
    expect(shardIndex(shards, 7)).toMatchObject({
      metadata: { total_size: 7 },
      weight_map: { a: 'model-00001-of-00003.safetensors', c: shards[2]!.file },
    });
  });
  const byData = (x: string, y: string): number => 'edc'.indexOf(x) - 'edc'.indexOf(y);
});

describe('reading ahead', () => {
  const size = 2 * pieceBytes + 12345;
  const bytes = Buffer.alloc(size);
  let path: string;
  beforeAll(() => {
    for (let i = 0; i < size; i++) bytes[i] = (i * 7919) >> 5;
    path = join(folder, 'bytes');
    writeFileSync(path, bytes);
  });
  const range = (offset: number, length: number): FileRange => ({ path, offset, bytes: length });

  test('gives ranges in pieces, each valid until the next but one is asked for', async () => {
    const ranges = [range(5, 100), range(0, 0), range(1, size - 1), range(9, pieceBytes)];
    const reader = new ReadAhead(ranges);
    for (const { offset, bytes: length, ...rest } of ranges) {
      let at = offset;
      let before: { at: number; piece: Uint8Array } | undefined;
      const own = ranges.find((r) => r.offset === offset && r.bytes === length)!;
      expect(rest.path).toBe(path);
      for await (const piece of reader.read(own)) {
        for (const given of [{ at, piece }, ...(before === undefined ? [] : [before])]) {
          const want = bytes.subarray(given.at, given.at + given.piece.length);
          if (!want.equals(given.piece)) throw new Error(`wrong bytes from ${given.at} on`);
        }
        before = { at, piece };
        at += piece.length;
      }
      expect(at).toBe(offset + length);
    }
    await reader.close();
  });

  test('says which file is gone or too short', async () => {
    const missing = { path: join(folder, 'missing'), offset: 0, bytes: 8 };
    const short = join(folder, 'short');
    writeFileSync(short, bytes.subarray(0, 100));
    truncateSync(short, 50);
    for (const [bad, message] of [
      [missing, `cannot read ${missing.path}: no such file`],
      [{ path: short, offset: 40, bytes: 20 }, `${short} became shorter`],
    ] as const) {
      const reader = new ReadAhead([bad]);
      const read = async (): Promise<void> => {
        for await (const piece of reader.read(bad)) expect(piece).toBeUndefined();
      };
      await expect(read()).rejects.toThrow(message);
      await reader.close();
    }
    expect(new SafetensorsError('x').name).toBe('SafetensorsError');
  });
});
