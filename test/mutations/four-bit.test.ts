/**
 * Damaged 4-bit weights: a layer that computes, or an error when it is read, not when it is used.
 * The parts of a layer are in memory of their own, so that the sanitizer sees reads beyond them.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { quantizeCheckpoint } from '../../lib/compress/quantize-checkpoint';
import { seededRandom, type Random } from '../../lib/data/random';
import { Embedding4bit, Linear4bit, quantStateKey, type BlockSize } from '../../lib/nf4';
import { account } from '../../lib/qwen2-audio/accounting';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import {
  dtypes,
  dtypeSize,
  fromBytes,
  Generator,
  loadSafetensors,
  memory,
  nn,
  noGrad,
  ones,
  scope,
  tensor,
  writeSafetensors,
  type DType,
  type Tensor,
} from '../../lib/torch';
import { settle } from '../qwen2-audio/tiny-model';
import { writeTinyCheckpoint } from '../tiny-checkpoint';
import { mutatedBytes, mutatedJson } from './mutate';
import { outcome } from './outcome';

jest.setTimeout(900_000);

interface Part {
  dtype: DType;
  shape: readonly number[];
  bytes: Uint8Array;
}
type Parts = Map<string, Part>;

function partsOf(state: Iterable<readonly [string, Tensor]>, prefix: string = ''): Parts {
  const entries = Array.from(state, ([name, value]) => {
    const { dtype, shape } = value;
    return [prefix + name, { dtype, shape, bytes: value.toBytes() }] as const;
  });
  return new Map(entries);
}

const floats: readonly number[] = [0, -0, 1e-45, 1e-38, 3e38, NaN, Infinity, -Infinity, 1, -7];

/** Other values of the type; its size stays. */
function otherValues({ dtype, bytes, shape }: Part, random: Random): Part {
  const changed = Uint8Array.from(bytes);
  if (changed.length === 0) return { dtype, shape, bytes };
  if (dtype === 'float32') {
    const view = new DataView(changed.buffer);
    for (let count = random.index(4); count >= 0; count--) {
      view.setFloat32(4 * random.index(changed.length / 4), random.pick(floats), true);
    }
  } else changed[random.index(changed.length)] = random.index(256);
  return { dtype, shape, bytes: changed };
}

/** Another shape, with as many bytes as that has: cut off, or others added. */
function otherShape({ dtype, bytes, shape }: Part, random: Random): Part {
  const count = shape.reduce((product, size) => product * size, 1);
  const size = random.pick([0, 1, count - 1, count + 1, 2 * count, Math.floor(count / 2), 17]);
  const other = random.pick<number[]>([[size], [size, 1], [1, size], [size, 1, 1], [], [0, 4]]);
  const length = other.reduce((product, n) => product * n, 1) * dtypeSize[dtype];
  return { dtype, shape: other, bytes: Uint8Array.from({ length }, (_, i) => bytes[i] ?? i % 256) };
}

/** The same bytes as another type's, as far as they are whole values of it. */
function otherType({ bytes }: Part, random: Random): Part {
  const dtype = random.pick(dtypes);
  const count = Math.floor(bytes.length / dtypeSize[dtype]);
  const whole = bytes.slice(0, count * dtypeSize[dtype]);
  // Of a bool there are two values.
  if (dtype === 'bool') whole.forEach((byte, i) => (whole[i] = byte & 1));
  return { dtype, shape: [count], bytes: whole };
}

/** Changes one part of the weight below `prefix`, or what part is taken for another. */
function damage(parts: Parts, prefix: string, random: Random): void {
  const names = [...parts.keys()].filter((name) => name.startsWith(`${prefix}.weight`));
  const json = `${prefix}.weight.${quantStateKey}`;
  const kind = random.next();
  const name = kind < 0.5 ? json : random.pick(names);
  const part = parts.get(name)!;
  if (kind < 0.4) {
    const said: unknown = JSON.parse(Buffer.from(part.bytes).toString());
    const bytes = Buffer.from(mutatedJson(said, random));
    parts.set(name, { dtype: 'uint8', shape: [bytes.length], bytes });
  } else if (kind < 0.5) {
    const bytes = mutatedBytes(part.bytes, random);
    parts.set(name, { dtype: 'uint8', shape: [bytes.length], bytes });
  } else if (kind < 0.62) parts.set(name, otherValues(part, random));
  else if (kind < 0.78) parts.set(name, otherShape(part, random));
  else if (kind < 0.88) parts.set(name, otherType(part, random));
  else if (kind < 0.94) parts.delete(name);
  else parts.set(random.pick(names), part);
}

describe('a layer', () => {
  const generator = new Generator(1);
  const linear = (inFeatures: number, outFeatures: number, doubleQuant: boolean): Parts =>
    scope(() => {
      const plain = new nn.Linear(inFeatures, outFeatures, { generator, bias: false });
      return taken(Linear4bit.fromLinear(plain, { doubleQuant }), plain);
    });
  const embedding = (rows: number, width: number, blockSize: BlockSize): Parts =>
    scope(() => {
      const plain = new nn.Embedding(rows, width, { generator });
      return taken(Embedding4bit.fromEmbedding(plain, { blockSize }), plain);
    });
  function taken(packed: nn.Module, plain: nn.Module): Parts {
    const parts = partsOf(packed.stateDict(), 'proj.');
    packed.dispose();
    plain.dispose();
    return parts;
  }

  const useLinear = (state: nn.StateDict): void => {
    const layer = Linear4bit.fromStateDict(state, 'proj');
    for (const rows of [1, 3, 12]) {
      const y = layer.forward(ones([rows, layer.inFeatures]));
      expect(y.shape).toEqual([rows, layer.outFeatures]);
    }
    layer.dispose();
  };
  const useEmbedding = (state: nn.StateDict): void => {
    const layer = Embedding4bit.fromStateDict(state, 'proj');
    const ids = layer.numEmbeddings === 0 ? [] : [0, layer.numEmbeddings - 1];
    const rows = layer.forward(tensor(ids, { dtype: 'int64' }));
    expect(rows.shape).toEqual([ids.length, layer.embeddingDim]);
    layer.dispose();
  };

  test.each<[string, number, () => Parts, (state: nn.StateDict) => void]>([
    ['ragged, its absmax in 8 bits', 800, () => linear(37, 531, true), useLinear],
    ['of whole blocks, its absmax in float32', 600, () => linear(64, 24, false), useLinear],
    ['of embeddings', 600, () => embedding(40, 64, 32), useEmbedding],
  ])('%s', async (title, count, make, use) => {
    const original = make();
    const handles = memory().handles;
    let refused = 0;
    for (let i = 0; i < count; i++) {
      const parts = new Map(original);
      damage(parts, 'proj', seededRandom(`${title} ${i}`));
      const result = await outcome('proj.weight', () =>
        scope(() =>
          noGrad(() => {
            const entries = Array.from(parts, ([name, { dtype, shape, bytes }]) => {
              return [name, fromBytes(bytes, dtype, shape)] as const;
            });
            use(new Map(entries));
          }),
        ),
      );
      if (result !== 'used') refused++;
    }
    expect(memory().handles).toBe(handles);
    expect(refused).toBeGreaterThan(count / 3);
    expect(refused).toBeLessThan(count);
  });
});

describe('a checkpoint', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-mutations-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const whole = join(folder, 'whole');
  const dir = join(folder, 'model');
  const sound = Float32Array.from({ length: 4000 }, (_, i) => 0.3 * Math.sin(i / 5));

  test('one of whose weights is damaged', async () => {
    writeTinyCheckpoint(join(folder, 'plain'), { decoderLayers: 2 });
    await quantizeCheckpoint(join(folder, 'plain'), whole, {
      ...{ blockSize: 32, lmHead: true, embeddings: true },
    });
    cpSync(whole, dir, { recursive: true });
    const file = join(dir, 'model.safetensors');
    const original = scope(() => partsOf(loadSafetensors(join(whole, 'model.safetensors'))));
    const packed = [...original.keys()].filter((name) => name.endsWith(quantStateKey));
    const prefixes = packed.map((name) => name.slice(0, -`.weight.${quantStateKey}`.length));
    await settle();
    const { handles } = memory();
    let refused = 0;
    for (let i = 0; i < 300; i++) {
      const random = seededRandom(`checkpoint ${i}`);
      const parts = new Map(original);
      damage(parts, random.pick(prefixes), random);
      writeSafetensors(
        file,
        Array.from(parts, ([name, { dtype, shape, bytes }]) => {
          return [name, { dtype, shape, write: (append) => append(bytes) }];
        }),
      );
      const result = await outcome(dir, async () => {
        using translator = await SpeechTranslator.load(dir);
        await translator.translate(sound, { to: 'German', maxNewTokens: 1 });
      });
      await outcome(dir, () => account(dir));
      if (result !== 'used') refused++;
    }
    await settle();
    expect(memory().handles).toBe(handles);
    expect(refused).toBeGreaterThan(60);
    expect(refused).toBeLessThan(300);
  });
});
