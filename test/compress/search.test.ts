/** The layer search against a loop that does it the slow way, with a copy for each candidate. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  candidateCount,
  candidateLayers,
  CompressionError,
  searchLayers,
  type ImportanceOptions,
  type ImportanceResult,
} from '../../lib/compress';
import type { Utterance } from '../../lib/data';
import { chrf, bleu } from '../../lib/metrics';
import { collate, generate, loadModel, saveModel, type Qwen2Audio } from '../../lib/qwen2-audio';
import { memory, noGrad, scope } from '../../lib/torch';
import { languages, tinyTask, withOwnAnswers, type TinyTask } from './tiny-task';

jest.setTimeout(600_000);
const maxNewTokens = 8;
const layers = 6;

let task: TinyTask;
let model: Qwen2Audio;
let dev: Utterance[];
let traces = 0;

beforeAll(async () => {
  task = await tinyTask();
  model = task.newModel(layers);
  dev = await withOwnAnswers(model, task.features, task.splits.dev, maxNewTokens);
});
afterAll(() => {
  model.dispose();
  task.dispose();
});

function search(options: Partial<ImportanceOptions> = {}): Promise<ImportanceResult> {
  return searchLayers(model, task.features, dev, languages, {
    remove: 3,
    criterion: { de: 'chrf++', zh: 'chrf' },
    maxNewTokens,
    batchSize: 4,
    trace: join(task.dir, `trace-${traces++}.jsonl`),
    fingerprint: 'a',
    ...options,
  });
}

/** A checkpoint on disk of some layers of another, by copying and cutting it. */
let copies = 0;
function copyOf(checkpoint: string, kept: readonly number[]): Qwen2Audio {
  const whole = loadModel(checkpoint);
  const stack = whole.languageModel.model;
  const all = stack.layers;
  stack.layers = kept.map((i) => all[i]!);
  const dir = join(task.dir, `copy-${copies++}`);
  saveModel(dir, whole, task.processor);
  stack.layers = all;
  whole.dispose();
  const copy = loadModel(dir);
  expect(copy.config.text.numHiddenLayers).toBe(kept.length);
  return copy;
}

/** One utterance at a time, audio and all. */
async function answers(of: Qwen2Audio, language: string): Promise<string[]> {
  const names: Record<string, string> = { de: 'German', zh: 'Chinese' };
  const instruction = `Translate the English speech into ${names[language]}:`;
  const texts: string[] = [];
  for (const utterance of dev) {
    const mel = task.features.get(utterance);
    const audioTokens = Math.floor((Math.floor((mel.frames - 1) / 2) + 1 - 2) / 2) + 1;
    const example = { ...task.processor.tokenize({ instruction }, audioTokens), mel };
    const batch = collate(of, [example], 'left');
    const [ids] = await generate(of, batch, { maxNewTokens });
    batch.inputIds.dispose();
    batch.inputFeatures.dispose();
    texts.push(task.processor.tokenizer.decode(ids!, { skipSpecialTokens: true }).trim());
  }
  return texts;
}

const refs = (language: string): string[] => dev.map((u) => u.translations[language]!);

async function score(of: Qwen2Audio): Promise<number> {
  const de = chrf(await answers(of, 'de'), refs('de'), { wordOrder: 2 }).score;
  const zh = chrf(await answers(of, 'zh'), refs('zh')).score;
  return (de + zh) / 2;
}

// First, since the collector frees what other tests leave to it.
test('memory is the same at every candidate, and as before at the end', async () => {
  for (const criterion of ['chrf', 'loss'] as const) {
    const before = memory();
    const during: number[] = [];
    const onProgress = (): number => during.push(memory().handles);
    await search({ criterion, promptBytes: 0, onProgress });
    expect(new Set(during).size).toBe(1);
    expect(memory()).toEqual(before);
    // With what candidates share: the state of each batch, which every layer before the candidate
    // gives keys and values where tokens follow. With all layers there is none.
    const shared: number[] = [];
    await search({ criterion, onProgress: () => shared.push(memory().handles - during[0]!) });
    const batches = languages.length * Math.ceil(dev.length / 4);
    const depths = [4, 3, 2].flatMap((count) => Array.from({ length: count }, (_, i) => i + 1));
    const inState = (depth: number): number => (criterion === 'loss' ? 1 : 1 + 2 * depth);
    expect(shared).toEqual([0, ...depths.map((depth) => batches * inState(depth))]);
    expect(memory()).toEqual(before);
  }
});

test('a criterion of one’s own', async () => {
  const named = await search({ criterion: 'bleu' });
  const heard = new Set<string>();
  const own = await search({
    criterion: {
      de: 'bleu',
      zh: (hypotheses, references, language) => {
        heard.add(language);
        return Promise.resolve(bleu(hypotheses, references, { tokenize: 'zh' }).score);
      },
    },
  });
  expect(own).toEqual(named);
  expect([...heard]).toEqual(['zh']);
  await expect(search({ criterion: () => NaN })).rejects.toThrow('is NaN');
});

test('what candidates share changes nothing, whether there is room for all, some or none', async () => {
  for (const criterion of ['chrf', 'loss'] as const) {
    const [all, some, none] = [
      await search({ criterion }),
      await search({ criterion, promptBytes: 60_000 }),
      await search({ criterion, promptBytes: 0 }),
    ];
    expect(all).toEqual(none);
    expect(some).toEqual(none);
  }
});

test('equals the slow loop: the same layers in the same order, the same scores', async () => {
  const checkpoint = join(task.dir, 'full');
  saveModel(checkpoint, model, task.processor);
  const expected: { removed: number; candidates: { layer: number; score: number }[] }[] = [];
  let left = [0, 1, 2, 3, 4, 5];
  for (let iteration = 0; iteration < 3; iteration++) {
    const candidates = [];
    for (const layer of left.slice(1, -1)) {
      const copy = copyOf(
        checkpoint,
        left.filter((l) => l !== layer),
      );
      candidates.push({ layer, score: await score(copy) });
      copy.dispose();
    }
    const most = Math.max(...candidates.map((candidate) => candidate.score));
    const removed = candidates.find((candidate) => candidate.score === most)!.layer;
    left = left.filter((layer) => layer !== removed);
    expected.push({ removed, candidates });
  }
  const result = await search();
  const found = result.iterations.map(({ removed, candidates }) => ({
    removed,
    candidates: candidates.map(({ layer, score: value }) => ({ layer, score: value })),
  }));
  expect(found).toEqual(expected);
  expect(result.removed).toEqual(expected.map(({ removed }) => removed));
  expect(result.kept).toEqual(left);
  expect(result.fullScore).toBe(100);
  // Otherwise the loop above would agree with any order.
  const scores = found.flatMap(({ candidates }) => candidates.map((c) => c.score));
  expect(new Set(scores).size).toBeGreaterThan(5);
  for (const { candidates } of result.iterations) {
    for (const { score: mean, scores: own } of candidates) {
      expect(Object.keys(own)).toEqual(['de', 'zh']);
      expect(mean).toBe((own.de! + own.zh!) / 2);
    }
  }
});

test('leaves the model as it was', async () => {
  const before = model.layers.slice();
  const full = await score(model);
  await search({ remove: 1 });
  expect(model.layers).toEqual(before);
  expect(await score(model)).toBe(full);
});

test('neither first nor last nor protected layers are candidates', async () => {
  const result = await search({ protectedLayers: [2, 4], remove: 2 });
  const tried = result.iterations.map(({ candidates }) => candidates.map((c) => c.layer));
  expect(tried[0]).toEqual([1, 3]);
  expect([...result.removed].sort()).toEqual([1, 3]);
  expect(result.kept).toEqual([0, 2, 4, 5]);
  expect(candidateLayers(6, [2])).toEqual([1, 3, 4]);
});

test('the paper counts 212 candidates to 24 layers and 360 to 16', () => {
  const open = candidateLayers(32).length;
  expect(open).toBe(30);
  expect(candidateCount(open, 8)).toBe(212);
  expect(candidateCount(open, 16)).toBe(360);
});

test('progress counts every candidate, and the full model', async () => {
  const heard: [number, number][] = [];
  await search({ remove: 2, onProgress: (done, total) => heard.push([done, total]) });
  expect(heard.map(([done]) => done)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(new Set(heard.map(([, total]) => total))).toEqual(new Set([8]));
});

test('more layers than may go are refused before anything is scored', async () => {
  const trace = join(task.dir, 'never.jsonl');
  const refused = search({ remove: 3, protectedLayers: [1, 2], trace });
  await expect(refused).rejects.toThrow(CompressionError);
  await expect(refused).rejects.toThrow(
    '3 of 6 decoder layers are to be removed, but only 2 may be; remove fewer or protect fewer',
  );
  expect(() => readFileSync(trace)).toThrow('ENOENT');
});

test('a protected layer that does not exist is refused by its number', async () => {
  await expect(search({ protectedLayers: [2, 6] })).rejects.toThrow(
    'layer 6 cannot be protected: the model has decoder layers 0 to 5',
  );
});

test.each(['chrf', 'loss'] as const)('by %s, the audio is encoded once', async (criterion) => {
  const spy = jest.spyOn(model.audioTower, 'forward');
  await search({ criterion, remove: 2 });
  expect(spy).toHaveBeenCalledTimes(Math.ceil(dev.length / 4));
  spy.mockRestore();
});

test('a language without a criterion is an error that names it', async () => {
  const refused = search({ criterion: { de: 'chrf' } });
  await expect(refused).rejects.toThrow(CompressionError);
  await expect(refused).rejects.toThrow('no criterion is given for zh; add it to the recipe');
});

test('batch size does not change the scores', async () => {
  const [one, many] = [await search({ batchSize: 1 }), await search({ batchSize: 6 })];
  expect(many).toEqual(one);
});

test('criterion bleu is the mean of BLEU, by zh for Chinese', async () => {
  const result = await search({ criterion: 'bleu', remove: 1 });
  const { layer, scores } = result.iterations[0]!.candidates[1]!;
  const candidate = model.withLayers([0, 1, 2, 3, 4, 5].filter((l) => l !== layer));
  expect(scores.de).toBe(bleu(await answers(candidate, 'de'), refs('de')).score);
  const zh = bleu(await answers(candidate, 'zh'), refs('zh'), { tokenize: 'zh' });
  expect(scores.zh).toBe(zh.score);
});

/** Cross-entropy per target token of one utterance after the other. */
function lossOf(of: Qwen2Audio, language: string): number {
  const instruction = `Translate the English speech into ${language === 'de' ? 'German' : 'Chinese'}:`;
  let [loss, targets] = [0, 0];
  for (const [i, utterance] of dev.entries()) {
    const mel = task.features.get(utterance);
    const audioTokens = Math.floor((Math.floor((mel.frames - 1) / 2) + 1 - 2) / 2) + 1;
    const prompt = { instruction, target: refs(language)[i]! };
    const example = { ...task.processor.tokenize(prompt, audioTokens), mel };
    scope(() => {
      const sums = noGrad(() => of.loss(collate(of, [example], 'right')));
      loss += sums.loss.item();
      targets += sums.targets;
    });
  }
  return loss / targets;
}

test('criterion loss takes the layer whose absence costs least', async () => {
  const result = await search({ criterion: 'loss', remove: 1 });
  const { removed, candidates } = result.iterations[0]!;
  expect(candidates.map(({ layer }) => layer)).toEqual([1, 2, 3, 4]);
  for (const { layer, score: value, scores } of candidates) {
    const candidate = model.withLayers([0, 1, 2, 3, 4, 5].filter((l) => l !== layer));
    for (const language of languages) {
      expect(scores[language]).toBeCloseTo(lossOf(candidate, language), 4);
    }
    expect(value).toBeCloseTo(-(scores.de! + scores.zh!) / 2, 10);
  }
  const best = Math.max(...candidates.map((candidate) => candidate.score));
  expect(candidates.find(({ layer }) => layer === removed)!.score).toBe(best);
});
