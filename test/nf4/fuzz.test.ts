/**
 * Damaged 4-bit checkpoints: whatever bytes are changed, reading ends with a layer or with an error
 * of ours, and never outside of the file's memory.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seededRandom, type Random } from '../../lib/data';
import { PareError } from '../../lib/errors';
import { Linear4bit } from '../../lib/nf4';
import { loadSafetensors, noGrad, ones, scope } from '../../lib/torch';
import { checkpointPath } from './vectors';

const folder = mkdtempSync(join(tmpdir(), 'pare-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true }));
const original = readFileSync(checkpointPath);
const headerEnd = 8 + Number(original.readBigUInt64LE(0));

/** Where the JSON of the quantisation lies: the descriptions are what a reader believes. */
const json = original.indexOf('{"quant_type"', headerEnd);
const jsonEnd = original.indexOf('}', json) + 1;

function replaceBytes(random: Random, from: number, to: number, count: number): Buffer {
  const bytes = Buffer.from(original);
  for (let i = 0; i < count; i++) {
    bytes[Math.floor(random.between(from, to))] = Math.floor(random.between(0, 256));
  }
  return bytes;
}

/** Another digit in the place of a digit: what is still valid JSON, but says something else. */
function replaceDigit(random: Random, from: number, to: number): Buffer {
  const bytes = Buffer.from(original);
  const digits: number[] = [];
  for (let i = from; i < to; i++) if (bytes[i]! >= 48 && bytes[i]! <= 57) digits.push(i);
  bytes[random.pick(digits)] = 48 + Math.floor(random.between(0, 10));
  return bytes;
}

const damages: Record<string, (random: Random) => Buffer> = {
  'a digit in the header': (random) => replaceDigit(random, 8, headerEnd),
  'a digit in the description': (random) => replaceDigit(random, json, jsonEnd),
  'bytes in the header': (random) => replaceBytes(random, 0, headerEnd, 3),
  'bytes in the description': (random) => replaceBytes(random, json, jsonEnd, 2),
  'bytes anywhere': (random) => replaceBytes(random, 0, original.length, 20),
  'a missing end': (random) => original.subarray(0, Math.floor(random.between(0, original.length))),
};

test.each(Object.keys(damages))('%s', (name) => {
  const path = join(folder, 'damaged.safetensors');
  const outcomes = { read: 0, refused: 0 };
  for (let i = 0; i < 250; i++) {
    const random = seededRandom(`${name} ${i}`);
    writeFileSync(path, damages[name]!(random));
    try {
      scope(() =>
        noGrad(() => {
          const layer = Linear4bit.fromStateDict(loadSafetensors(path), 'proj');
          const y = layer.forward(ones([3, layer.inFeatures]));
          expect(y.shape).toEqual([3, layer.outFeatures]);
          layer.dispose();
        }),
      );
      outcomes.read++;
    } catch (error) {
      if (!(error instanceof PareError)) throw error;
      outcomes.refused++;
    }
  }
  // The damage reaches what is checked.
  expect(outcomes.refused).toBeGreaterThan(10);
});
