/** Damaged safetensors files: read as their header says, or refused; never read beyond their end. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seededRandom, type Random } from '../../lib/data/random';
import { readWeightFile } from '../../lib/qwen2-audio/weight-file';
import { dtypeSize, readSafetensors, scope } from '../../lib/torch';
import { mutatedBytes, mutatedJson } from './mutate';
import { outcome } from './outcome';

const folder = mkdtempSync(join(tmpdir(), 'pare-mutations-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'damaged.safetensors');

const original = readFileSync(join(__dirname, '../oracle/vectors/safetensors.safetensors'));
const headerEnd = 8 + Number(original.readBigUInt64LE());
const header: unknown = JSON.parse(original.subarray(8, headerEnd).toString());
const data = original.subarray(headerEnd);

function withHeader(json: string | Uint8Array, length?: bigint): Buffer {
  const bytes = Buffer.from(json);
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(length ?? BigInt(bytes.length));
  return Buffer.concat([start, bytes, data]);
}

/** Reads every byte of every tensor, which all have to lie in the file and none in two tensors. */
function readAll(): void {
  const size = readFileSync(path).length;
  scope(() => {
    using file = readSafetensors(path);
    const names = file.names();
    let total = 0;
    for (const name of names) {
      const info = file.info(name);
      const value = file.tensor(name);
      expect([value.dtype, value.shape]).toEqual([info.dtype, info.shape]);
      const { length } = value.toBytes();
      expect(length).toBe(value.numel * dtypeSize[value.dtype]);
      total += length;
    }
    expect(total).toBeLessThan(size);
    // The reader without the addon sees the same.
    const weights = readWeightFile(path, () => true);
    expect([...weights.tensors.keys()]).toEqual(names);
    for (const name of names) {
      expect(weights.contents.get(name)!.length).toBe(file.info(name).bytes);
    }
  });
}

const lengths = [
  0n,
  1n,
  7n,
  8n,
  100_000_001n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];

const damages: Record<string, [count: number, damage: (random: Random) => Buffer]> = {
  'bytes of the header': [1200, (random) => mutatedBytes(original, random, headerEnd)],
  'values in the header': [2400, (random) => withHeader(mutatedJson(header, random))],
  'a header in other bytes': [
    400,
    (random) => withHeader(mutatedBytes(original.subarray(8, headerEnd), random)),
  ],
  'the length of the header': [
    200,
    (random) => {
      const near = BigInt(Math.max(0, headerEnd - 8 + random.index(41) - 20));
      return withHeader(original.subarray(8, headerEnd), random.pick([...lengths, near, near]));
    },
  ],
};

test.each(Object.entries(damages))('%s', async (name, [count, damage]) => {
  let refused = 0;
  for (let i = 0; i < count; i++) {
    writeFileSync(path, damage(seededRandom(`${name} ${i}`)));
    if ((await outcome(path, readAll)) !== 'used') refused++;
  }
  // Some pass and some do not, or nothing was tested.
  expect(refused).toBeGreaterThan(count / 4);
  expect(refused).toBeLessThan(count);
});
