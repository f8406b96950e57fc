/** Beam search, logits processors and sampling, against transformers where it says what is right. */
import {
  generate,
  GenerationError,
  generateSequences,
  generateSteps,
  parseConfig,
  resolveGeneration,
  type GenerationConfig,
  type Qwen2Audio,
} from '../../lib/qwen2-audio';
import { logitsProcessors } from '../../lib/qwen2-audio/logits-processors';
import { draw } from '../../lib/qwen2-audio/sampling';
import { functional as F, memory, scope, tensor } from '../../lib/torch';
import { examples, leftPadded, loadTiny, readVectors, settle, vectors } from './tiny-model';

jest.setTimeout(240_000);

interface GenerationVectors {
  generate: {
    eosTokenIds: number[];
    options: Record<string, number | boolean | string>;
    ids: number[][][];
    scores?: number[][];
  }[];
  processors: {
    sequences: number[][];
    scores: number[][];
    cases: { name: string; options: GenerationConfig; scores: (number | null)[][] }[];
  };
}

const { generate: cases, processors } = readVectors<GenerationVectors>('generation-vectors.json');
const { maxNewTokens } = vectors;
let model: Qwen2Audio;
let eosTokenIds: number[];

beforeAll(async () => {
  model = loadTiny();
  ({ eosTokenIds } = model.config);
  await settle();
});
afterEach(() => {
  model.config.eosTokenIds = eosTokenIds;
});
afterAll(() => model.dispose());

const camel = (key: string): string =>
  key.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

describe('as transformers generates', () => {
  test.each(cases)('eos $eosTokenIds, $options', async ({ eosTokenIds, options, ids, scores }) => {
    const given = Object.fromEntries(
      Object.entries(options).map(([key, value]) => [camel(key), value]),
    ) as unknown as GenerationConfig & { maxNewTokens: number };
    // Of one beam transformers takes them, and does nothing with them.
    if (given.numBeams === 1) {
      delete given.lengthPenalty;
      delete given.earlyStopping;
    }
    model.config.eosTokenIds = eosTokenIds;
    const batch = await generateSequences(model, leftPadded(model), given);
    expect(batch.map((row) => row.map((sequence) => sequence.ids))).toEqual(ids);
    for (const [row, sequences] of (scores ?? []).entries()) {
      for (const [i, score] of sequences.entries()) {
        expect(Math.abs(batch[row]![i]!.score! / score - 1)).toBeLessThan(1e-5);
      }
    }
    const row = String(ids).length % 3;
    const example = examples()[row]!;
    const [alone] = await generateSequences(model, leftPadded(model, [example]), given);
    expect(alone!.map((sequence) => sequence.ids)).toEqual(ids[row]);
  });

  test('there are enough cases, and many ends', () => {
    const all = cases.flatMap(({ ids }) => ids.flat());
    expect(cases.length).toBeGreaterThan(100);
    expect(new Set(all.map(({ length }) => length)).size).toBeGreaterThan(10);
  });
});

describe('logits processors', () => {
  test.each(processors.cases)('$name', ({ options, scores: expected }) => {
    const sampled = ['temperature', 'topK', 'topP'].some((key) => key in options);
    const list = logitsProcessors(resolveGeneration({ ...options, doSample: sampled }));
    expect(list.length).toBeGreaterThan(0);
    const rows = scope(() => {
      const given = tensor(processors.scores);
      const before = given.toArray();
      const after = list.reduce((scores, process) => process(processors.sequences, scores), given);
      expect(given.toArray()).toEqual(before);
      return after.toArray();
    });
    const want = expected.flat();
    expect(rows.map((value) => value === -Infinity)).toEqual(want.map((value) => value === null));
    for (const [i, value] of want.entries()) {
      if (value !== null) expect(rows[i]).toBeCloseTo(value, 5);
    }
  });
});

describe('sampling', () => {
  const sampled = { maxNewTokens, doSample: true, temperature: 1.5 };

  test('draws each token as often as its probability says', () => {
    const scores = [1.5, -Infinity, 0, 3, -1, 2.5, -Infinity];
    const points = 4000;
    scope(() => {
      const probabilities = F.softmax(tensor([scores])).toArray();
      const at = Array.from({ length: points }, (_, i) => (i + 0.5) / points);
      const rows = tensor([scores]).expand([points, scores.length]);
      const counts = scores.map(() => 0);
      for (const id of draw(rows, at)) counts[id]!++;
      for (const [id, count] of counts.entries()) {
        expect(Math.abs(count - points * probabilities[id]!)).toBeLessThanOrEqual(1);
      }
      expect(draw(rows.narrow(0, 0, 2), [0, 1 - 2 ** -53])).toEqual([0, 5]);
    });
  });

  test('gives the same for the same seed, whatever the batch, and another for another', async () => {
    const batch = await generate(model, leftPadded(model), { ...sampled, seed: 5 });
    expect(await generate(model, leftPadded(model), { ...sampled, seed: 5 })).toEqual(batch);
    for (const [row, example] of examples().entries()) {
      const alone = await generate(model, leftPadded(model, [example]), { ...sampled, seed: 5 });
      expect(alone).toEqual([batch[row]]);
    }
    const others = await Promise.all(
      [0, 1, 2, 2 ** 32 - 1].map((seed) =>
        generate(model, leftPadded(model), { ...sampled, seed }),
      ),
    );
    expect(new Set([batch, ...others].map(String)).size).toBe(5);
    expect(await generate(model, leftPadded(model), sampled)).toEqual(others[0]);
    expect(batch).not.toEqual(await generate(model, leftPadded(model), { maxNewTokens }));
  });

  test('more tokens and more samples begin alike', async () => {
    const batch = leftPadded(model);
    const short = await generate(model, batch, { ...sampled, maxNewTokens: 4 });
    const long = await generate(model, batch, sampled);
    expect(long.map((ids) => ids.slice(0, 4))).toEqual(short);
    const three = await generateSequences(model, batch, { ...sampled, numReturnSequences: 3 });
    expect(three.map(([first]) => first!.ids)).toEqual(long);
    for (const row of three) expect(new Set(row.map(({ ids }) => String(ids))).size).toBe(3);
    const five = await generateSequences(model, batch, { ...sampled, numReturnSequences: 5 });
    expect(five.map((row) => row.slice(0, 3))).toEqual(three);
  });

  test('of one token there is nothing to draw', async () => {
    const greedy = await generate(model, leftPadded(model), { maxNewTokens });
    for (const only of [{ topK: 1 }, { topP: 1e-6 }, { temperature: 1e-3, topK: 0 }]) {
      const options = { maxNewTokens, doSample: true, seed: 9, ...only };
      expect(await generate(model, leftPadded(model), options)).toEqual(greedy);
    }
  });
});

describe('what is asked for', () => {
  test('generation_config.json decides on the ends, and on sampling only where it is asked', () => {
    const raw = { model_type: 'qwen2_audio', audio_config: {}, text_config: { eos_token_id: 7 } };
    expect(parseConfig(raw).eosTokenIds).toEqual([7]);
    expect(parseConfig(raw, { eos_token_id: 9 }).eosTokenIds).toEqual([9]);
    expect(parseConfig(raw, { eos_token_id: [9, 8, 9] }).eosTokenIds).toEqual([9, 8]);
    expect(parseConfig(raw, { eos_token_id: null }).eosTokenIds).toEqual([7]);
    // That of Qwen2-Audio-7B-Instruct.
    const { samplingDefaults } = parseConfig(raw, {
      ...{ do_sample: true, top_k: 20, top_p: 0.5, temperature: 0.7, repetition_penalty: 1.1 },
      ...{ num_beams: 4, max_new_tokens: 2048 },
    });
    const plain = { doSample: false, numBeams: 1, topK: 0, topP: 1, repetitionPenalty: 1 };
    expect(resolveGeneration({}, samplingDefaults)).toMatchObject(plain);
    expect(resolveGeneration({ doSample: true }, samplingDefaults)).toMatchObject({
      ...{ doSample: true, topK: 20, topP: 0.5, temperature: 0.7, repetitionPenalty: 1.1 },
    });
    const asked = { doSample: true, topK: 0, topP: 0.9, repetitionPenalty: 1 };
    expect(resolveGeneration(asked, samplingDefaults)).toMatchObject({
      ...asked,
      temperature: 0.7,
    });
    expect(resolveGeneration({ doSample: true })).toMatchObject({ topK: 50, topP: 1 });
  });

  test.each<[GenerationConfig, string]>([
    [{ numBeams: 0 }, 'numBeams must be a whole number of at least 1'],
    [{ numBeams: 2.5 }, 'numBeams'],
    [{ numBeams: 4, numReturnSequences: 5 }, 'numReturnSequences is 5, of 4 beams'],
    [{ numReturnSequences: 2 }, 'numReturnSequences'],
    [{ numBeams: 4, doSample: true }, 'exclude each other'],
    [{ temperature: 0.5 }, 'add doSample: true'],
    [{ seed: 1 }, 'add doSample: true'],
    [{ lengthPenalty: 2 }, 'add numBeams: 4'],
    [{ earlyStopping: true }, 'add numBeams: 4'],
    [{ doSample: true, temperature: 0 }, 'temperature must be a number above 0, not 0'],
    [{ doSample: true, topP: 1.5 }, 'topP'],
    [{ doSample: true, topK: -1 }, 'topK'],
    [{ doSample: true, seed: 2 ** 32 }, 'seed'],
    [{ repetitionPenalty: NaN }, 'repetitionPenalty'],
    [{ noRepeatNgramSize: -1 }, 'noRepeatNgramSize'],
    [{ numBeams: 300 }, '256 tokens'],
  ])('%p is refused', async (options, message) => {
    const batch = leftPadded(model);
    const before = memory();
    const refused = generate(model, batch, { maxNewTokens, ...options });
    await expect(refused).rejects.toThrow(GenerationError);
    await expect(refused).rejects.toThrow(message);
    expect(memory()).toEqual(before);
    expect(batch.size).toBe(3);
  });

  test('beams cannot be streamed', async () => {
    const steps = generateSteps(model, leftPadded(model), { maxNewTokens, numBeams: 2 });
    await expect(steps.next()).rejects.toThrow(GenerationError);
  });
});

describe('nothing is left behind', () => {
  // What tests before left to the collector would go in the middle of one here.
  beforeEach(settle);

  const modes: GenerationConfig[] = [
    {},
    { numBeams: 3, numReturnSequences: 2 },
    { doSample: true, topP: 0.9, numReturnSequences: 2 },
    { repetitionPenalty: 1.2, noRepeatNgramSize: 2 },
    { numBeams: 2, repetitionPenalty: 1.2, noRepeatNgramSize: 2 },
  ];

  test.each(modes)('%p, to the end or aborted', async (mode) => {
    const batch = leftPadded(model);
    await generate(model, batch, { maxNewTokens, ...mode });
    const before = memory();
    for (const tokens of [0, 1, 2, maxNewTokens]) {
      const rows = await generate(model, batch, { maxNewTokens: tokens, ...mode });
      expect(rows).toHaveLength(3);
      expect(memory()).toEqual(before);
    }
    const late = new AbortController();
    const running = generate(model, batch, { maxNewTokens: 200, signal: late.signal, ...mode });
    setImmediate(() => setImmediate(() => late.abort(new Error('enough'))));
    await expect(running).rejects.toThrow('enough');
    expect(memory()).toEqual(before);
    const signal = AbortSignal.abort(new Error('never'));
    await expect(generate(model, batch, { maxNewTokens, signal, ...mode })).rejects.toThrow(
      'never',
    );
    expect(memory()).toEqual(before);
    expect(batch.inputIds.disposed).toBe(false);
  });

  test('steps that are left early', async () => {
    const batch = leftPadded(model);
    await generate(model, batch, { maxNewTokens });
    const before = memory();
    for (const mode of [{}, { doSample: true }]) {
      for await (const ids of generateSteps(model, batch, { maxNewTokens, ...mode })) {
        expect(ids).toHaveLength(3);
        break;
      }
      expect(memory()).toEqual(before);
    }
    expect(batch.size).toBe(3);
  });
});
