/** The model against transformers: the vectors of test/oracle/model.py and nf4_model.py. */
import { padLogMel } from '../../lib/audio';
import {
  audioTokenCount,
  encodeAudio,
  generate,
  ModelInputError,
  type Batch,
  type Example,
  type Qwen2Audio,
} from '../../lib/qwen2-audio';
import { noGrad, tensor, type Tensor } from '../../lib/torch';
import {
  clip,
  difference,
  examples,
  leftPadded,
  loadTiny,
  quantizeLinears,
  readVectors,
  tinyWindow,
  vectors,
  vectorTensors,
  type Greedy,
} from './tiny-model';

const expected = vectorTensors();
const { maxNewTokens, prompts, removedLayers } = vectors;
const { frames, sums } = vectors.inputFeatures;
jest.setTimeout(120_000);
let model: Qwen2Audio;
beforeAll(() => {
  model = loadTiny();
});

const kept = (): Qwen2Audio =>
  model.withLayers([...model.layers.keys()].filter((i) => !removedLayers.includes(i)));

const greedy = (of: Qwen2Audio, rows: readonly Example[]): Promise<number[][]> =>
  generate(of, leftPadded(of, rows), { maxNewTokens });

async function oneByOne(of: Qwen2Audio, rows: readonly Example[]): Promise<number[][]> {
  const result: number[][] = [];
  for (const row of rows) result.push(...(await greedy(of, [row])));
  return result;
}

/** The logits of each row's real positions, from a left-padded batch. */
function logits(of: Qwen2Audio, batch: Batch): Tensor[] {
  return noGrad(() => {
    const all = of.forward(batch);
    const time = all.size(1);
    return batch.lengths.map((length, row) => all.select(0, row).narrow(0, time - length, length));
  });
}

test('the clips are those of the vectors', () => {
  for (const [i, sum] of sums.entries()) {
    const window = padLogMel(clip(i, frames[i]!), tinyWindow);
    expect(window.reduce((total, value) => total + value, 0)).toBeCloseTo(sum, 6);
    expect(audioTokenCount(frames[i]!)).toBe(vectors.inputFeatures.audioTokens[i]);
  }
});

describe('against transformers', () => {
  test('encoder and projector', () => {
    const batch = leftPadded(model);
    const states = noGrad(() => model.encode(batch));
    const features = encodeAudio(model, batch);
    let at = 0;
    for (const [row, count] of vectors.inputFeatures.audioTokens.entries()) {
      const own = states.select(0, row).narrow(0, 0, count);
      expect(difference(own, expected.get(`encoder.last_hidden_state.${row}`)!)).toBeLessThan(1e-4);
      const projected = features.narrow(0, at, count);
      expect(difference(projected, expected.get(`projector.output.${row}`)!)).toBeLessThan(1e-4);
      at += count;
    }
    expect(features.size(0)).toBe(at);
  });

  test('logits of a left-padded batch and of single rows', () => {
    const batched = logits(model, leftPadded(model));
    for (const [row, example] of examples().entries()) {
      const reference = expected.get(`logits.${row}`)!;
      expect(difference(batched[row]!, reference)).toBeLessThan(1e-4);
      expect(difference(logits(model, leftPadded(model, [example]))[0]!, reference)).toBeLessThan(
        1e-4,
      );
    }
  });

  test('greedy ids, one by one and in a left-padded batch', async () => {
    expect(await oneByOne(model, examples())).toEqual(vectors.greedy.full.greedySingle);
    expect(await greedy(model, examples())).toEqual(vectors.greedy.full.greedyBatch);
  });

  test('audio features that are known already give the same ids', async () => {
    const batch = leftPadded(model);
    const audioFeatures = encodeAudio(model, batch);
    const ids = await generate(model, batch, { maxNewTokens, audioFeatures });
    expect(ids).toEqual(vectors.greedy.full.greedyBatch);
  });

  test('without two layers', async () => {
    const pruned = kept();
    expect(pruned.layers).toHaveLength(3);
    const rows = logits(pruned, leftPadded(pruned));
    const reference = expected.get('pruned.lastLogits')!;
    for (const [row, own] of rows.entries()) {
      const last = own.select(0, own.size(0) - 1);
      expect(difference(last, reference.select(0, row))).toBeLessThan(1e-4);
    }
    expect(await oneByOne(pruned, examples())).toEqual(vectors.greedy.pruned.greedySingle);
    expect(await greedy(pruned, examples())).toEqual(vectors.greedy.pruned.greedyBatch);
    // The whole model is as it was.
    expect(model.layers).toHaveLength(5);
    expect(await greedy(model, examples())).toEqual(vectors.greedy.full.greedyBatch);
    expect(() => model.withLayers([0, 5])).toThrow(ModelInputError);
  });

  test('in NF4', async () => {
    const quantized = quantizeLinears(loadTiny());
    // Not those of model.py: bitsandbytes' AVX-512 code reads this model's widths wrong.
    const greedyNf4 = readVectors<Greedy>('nf4-model-vectors.json');
    const reference = vectorTensors('nf4-model-vectors').get('nf4.lastLogits')!;
    for (const [row, own] of logits(quantized, leftPadded(quantized)).entries()) {
      const last = own.select(0, own.size(0) - 1);
      expect(difference(last, reference.select(0, row))).toBeLessThan(1e-4);
    }
    expect(await oneByOne(quantized, examples())).toEqual(greedyNf4.greedySingle);
    expect(await greedy(quantized, examples())).toEqual(greedyNf4.greedyBatch);
    quantized.dispose();
  });
});

describe('batches', () => {
  /** Eight questions of different lengths about clips of different lengths. */
  const eight = (): Example[] =>
    [200, 3, 77, 150, 41, 199, 9, 120].map((length, i) => {
      const audio = Array.from({ length: audioTokenCount(length) }, () => 3);
      const before = Array.from({ length: 1 + ((5 * i) % 7) }, (_, t) => 10 + i + 3 * t);
      return { inputIds: [...before, 4, ...audio, 5, 60 + i, 99], mel: clip(i, length) };
    });

  test('of 1 and of 8 give the same ids', async () => {
    const single = await oneByOne(model, eight());
    expect(new Set(single.map(String)).size).toBeGreaterThan(4);
    expect(await greedy(model, eight())).toEqual(single);
    const pruned = kept();
    expect(await greedy(pruned, eight())).toEqual(await oneByOne(pruned, eight()));
  });

  test('share a clip among questions and encode it once', async () => {
    const mel = clip(1, frames[1]!);
    const twice = [prompts[1]!, [55, ...prompts[1]!]].map((inputIds) => ({ inputIds, mel }));
    const batch = leftPadded(model, twice);
    expect(batch.inputFeatures.size(0)).toBe(1);
    const ids = await generate(model, batch, { maxNewTokens });
    expect(ids[0]).toEqual(vectors.greedy.full.greedySingle[1]);
    expect(ids[1]).toEqual((await greedy(model, [twice[1]!]))[0]);
  });

  test('are cut behind the longest clip, which changes nothing that counts', () => {
    for (const lengths of [[45], [137, 45], [3, 4], [197], [1, 2, 3]]) {
      const mels = lengths.map((length, i) => clip(i, length));
      const rows = mels.map((mel) => ({
        inputIds: [4, ...new Array<number>(audioTokenCount(mel.frames)).fill(3), 5],
        mel,
      }));
      const batch = leftPadded(model, rows);
      const bands = mels.flatMap((mel) => Array.from(padLogMel(mel, tinyWindow)));
      const window = tensor(bands, { shape: [mels.length, 128, tinyWindow] });
      const [cut, whole] = noGrad(() => [
        model.encode(batch),
        model.audioTower.forward(window, lengths),
      ]);
      if (Math.max(...lengths) < 190) expect(cut!.size(1)).toBeLessThan(whole!.size(1));
      for (const [row, length] of lengths.entries()) {
        const count = audioTokenCount(length);
        if (count === 0) continue;
        const part = (states: Tensor): Tensor => states.select(0, row).narrow(0, 0, count);
        expect(difference(part(cut!), part(whole!))).toBeLessThan(1e-5);
      }
    }
  });

  test('whose audio tokens were cut off are refused', async () => {
    const [long, ...rest] = examples();
    const truncated = [{ ...long!, inputIds: long!.inputIds.slice(0, 30) }, ...rest];
    await expect(greedy(model, truncated)).rejects.toThrow(ModelInputError);
    await expect(greedy(model, truncated)).rejects.toThrow(/tokens 72, features 95; .*truncated/);
    expect(() => model.loss(leftPadded(model))).toThrow('no labels');
  });
});

describe('generation', () => {
  test('ends at an end-of-sequence id, or after the new tokens asked for', async () => {
    const short = await generate(model, leftPadded(model), { maxNewTokens: 3 });
    expect(short).toEqual(vectors.greedy.full.greedyBatch.map((ids) => ids.slice(0, 3)));
    expect(await generate(model, leftPadded(model), { maxNewTokens: 0 })).toEqual([[], [], []]);
  });
});
