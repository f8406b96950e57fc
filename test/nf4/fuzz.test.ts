/**
 * Damaged 4-bit checkpoints: whatever bytes are changed, reading ends with a layer or with an error
 * of ours, and never outside of the file's memory.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seededRandom, type Random } from '../../lib/data';
import { PareError } from '../../lib/errors';
import { Embedding4bit, Linear4bit } from '../../lib/nf4';
import {
  Generator,
  loadSafetensors,
  nn,
  noGrad,
  ones,
  scope,
  tensor,
  writeSafetensors,
} from '../../lib/torch';
import { checkpointPath } from './vectors';

const folder = mkdtempSync(join(tmpdir(), 'pare-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true }));
const damaged = join(folder, 'damaged.safetensors');

function embeddingFile(): Buffer {
  const path = join(folder, 'embedding.safetensors');
  scope(() => {
    const plain = new nn.Embedding(300, 128, { generator: new Generator(1) });
    const packed = Embedding4bit.fromEmbedding(plain);
    writeSafetensors(
      path,
      Array.from(packed.stateDict(), ([name, value]) => [`proj.${name}`, value] as const),
    );
    packed.dispose();
    plain.dispose();
  });
  return readFileSync(path);
}

/** What is damaged, and how it is used. */
const subjects: Record<string, { original: Buffer; use: () => void }> = {
  linear: {
    original: readFileSync(checkpointPath),
    use: () => {
      const layer = Linear4bit.fromStateDict(loadSafetensors(damaged), 'proj');
      const y = layer.forward(ones([3, layer.inFeatures]));
      expect(y.shape).toEqual([3, layer.outFeatures]);
      layer.dispose();
    },
  },
  embedding: {
    original: embeddingFile(),
    use: () => {
      const layer = Embedding4bit.fromStateDict(loadSafetensors(damaged), 'proj');
      const ids = tensor([0, layer.numEmbeddings - 1, 7], { dtype: 'int64' });
      expect(layer.forward(ids).shape).toEqual([3, layer.embeddingDim]);
      layer.dispose();
    },
  },
};

function replaceBytes(bytes: Buffer, random: Random, from: number, to: number, n: number): void {
  for (let i = 0; i < n; i++) {
    bytes[Math.floor(random.between(from, to))] = Math.floor(random.between(0, 256));
  }
}

/** Another digit in the place of a digit: what is still valid JSON, but says something else. */
function replaceDigit(bytes: Buffer, random: Random, from: number, to: number): void {
  const digits: number[] = [];
  for (let i = from; i < to; i++) if (bytes[i]! >= 48 && bytes[i]! <= 57) digits.push(i);
  bytes[random.pick(digits)] = 48 + Math.floor(random.between(0, 10));
}

/** Where a file's header ends, and where the JSON lies that a reader of 4 bits believes. */
interface Places {
  headerEnd: number;
  json: number;
  jsonEnd: number;
}

function placesOf(bytes: Buffer): Places {
  const headerEnd = 8 + Number(bytes.readBigUInt64LE(0));
  const json = bytes.indexOf('{"quant_type"', headerEnd);
  return { headerEnd, json, jsonEnd: bytes.indexOf('}', json) + 1 };
}

const damages: Record<string, (bytes: Buffer, random: Random, at: Places) => void> = {
  'a digit in the header': (bytes, random, at) => replaceDigit(bytes, random, 8, at.headerEnd),
  'a digit in the description': (bytes, random, at) =>
    replaceDigit(bytes, random, at.json, at.jsonEnd),
  'bytes in the header': (bytes, random, at) => replaceBytes(bytes, random, 0, at.headerEnd, 3),
  'bytes in the description': (bytes, random, at) =>
    replaceBytes(bytes, random, at.json, at.jsonEnd, 2),
  'bytes anywhere': (bytes, random) => replaceBytes(bytes, random, 0, bytes.length, 20),
};

function attempt(bytes: Buffer, use: () => void): 'read' | 'refused' {
  writeFileSync(damaged, bytes);
  try {
    scope(() => noGrad(use));
    return 'read';
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
    return 'refused';
  }
}

describe.each(Object.entries(subjects))('%s', (_, { original, use }) => {
  test.each(Object.entries(damages))('%s', (name, damage) => {
    const places = placesOf(original);
    let refused = 0;
    for (let i = 0; i < 200; i++) {
      const bytes = Buffer.from(original);
      damage(bytes, seededRandom(`${name} ${i}`), places);
      if (attempt(bytes, use) === 'refused') refused++;
    }
    // The damage reaches what is checked.
    expect(refused).toBeGreaterThan(5);
  });

  test('a missing end; whole, it is read', () => {
    expect(attempt(original, use)).toBe('read');
    const random = seededRandom('end');
    for (let i = 0; i < 100; i++) {
      const end = Math.floor(random.between(0, original.length));
      expect(attempt(original.subarray(0, end), use)).toBe('refused');
    }
  });
});
