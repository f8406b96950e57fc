/** Batches, SpecAugment and the CTC head of the translation task, on a tiny random model. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeWav } from '../../lib/audio';
import { bucketBatches, type Corpus, type Utterance } from '../../lib/data';
import { parseConfig, Processor, Qwen2Audio } from '../../lib/qwen2-audio';
import { Tokenizer } from '../../lib/text';
import { Generator, memory, type Tensor } from '../../lib/torch';
import { finetune } from '../../lib/compress';
import { Features } from '../../lib/train/examples';
import { train, type TrainingLogEntry } from '../../lib/train/loop';
import {
  CtcHead,
  TranslationTask,
  type TrainingItem,
  type TranslationOptions,
} from '../../lib/train/translation';
import { settle, vectorsFolder } from '../qwen2-audio/tiny-model';

jest.setTimeout(300_000);

describe('bucketBatches', () => {
  const lengths = Array.from({ length: 103 }, (_, i) => 50 + ((37 * i) % 211));
  const batches = bucketBatches(lengths, 4, 5, 0);

  test('has every index once, in batches of the size asked for', () => {
    expect(batches.flat().sort((a, b) => a - b)).toEqual([...lengths.keys()]);
    expect(batches).toHaveLength(Math.ceil(103 / 4));
    expect(batches.filter((batch) => batch.length !== 4).map((batch) => batch.length)).toEqual([3]);
    expect(bucketBatches([], 4, 5, 0)).toEqual([]);
  });

  test('is the same again, and another in every epoch and for every seed', () => {
    expect(bucketBatches(lengths, 4, 5, 0)).toEqual(batches);
    const others = [bucketBatches(lengths, 4, 5, 1), bucketBatches(lengths, 4, 6, 0)];
    for (const other of others) {
      expect(other).not.toEqual(batches);
      // Not only in another order: the neighbours are others, too.
      const sets = new Set(batches.map((batch) => [...batch].sort().join()));
      const kept = other.filter((batch) => sets.has([...batch].sort().join()));
      expect(kept.length).toBeLessThan(batches.length / 2);
    }
  });

  test('pads less than batches in any order', () => {
    const padding = (order: number[][]): number =>
      order
        .map((batch) => batch.map((i) => lengths[i]!))
        .map((own) => own.length * Math.max(...own) - own.reduce((a, b) => a + b))
        .reduce((a, b) => a + b);
    const plain = Array.from({ length: 26 }, (_, i) => [...lengths.keys()].slice(4 * i, 4 * i + 4));
    expect(padding(batches)).toBeLessThan(padding(plain) / 3);
  });
});

describe('a translation task', () => {
  const tokenizer = Tokenizer.fromPretrained(join(vectorsFolder, 'processor/tokenizer'));
  const processor = new Processor({ tokenizer, maxSourcePositions: 50 });
  const words = ['one day', 'two days', 'three days', 'four days'];
  const utterances = words.map((text, i): Utterance => ({
    id: `u${i}`,
    audio: `u${i}.wav`,
    seconds: 0.5 + 0.1 * i,
    speaker: 's',
    text,
    translations: { de: `${i + 1} Tage`, zh: `${i + 1}天` },
    group: `g${i}`,
  }));
  const items = utterances.map((utterance): TrainingItem => ({
    utterance,
    targets: [
      { task: 'de', text: utterance.translations.de! },
      { task: 'transcribe', text: utterance.text },
    ],
  }));
  let folder: string;
  let features: Features;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pare-translation-'));
    for (const [i, { audio, seconds }] of utterances.entries()) {
      const tone = (t: number): number => 0.3 * Math.sin((2 * Math.PI * 300 * (i + 1) * t) / 16000);
      const samples = Float32Array.from({ length: 16000 * seconds }, (_, t) => tone(t));
      writeWav(join(folder, audio), samples, 16000);
    }
    const corpus = {
      audio: ({ audio }: Utterance) => Promise.resolve(join(folder, audio)),
      blockOf: () => undefined,
    } as unknown as Corpus;
    const heard: number[] = [];
    features = new Features(corpus, processor, { onProgress: (done) => heard.push(done) });
    await features.load([...utterances, utterances[0]!]);
    await features.load(utterances);
    expect(heard).toEqual([1, 2, 3, 4]);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test('features that do not fit are read when they are asked for, and go again', async () => {
    const heard: string[] = [];
    const corpus = {
      audio: ({ audio }: Utterance) => {
        heard.push(audio);
        return Promise.resolve(join(folder, audio));
      },
      blockOf: () => undefined,
    } as unknown as Corpus;
    const size = (utterance: Utterance): number => features.get(utterance).data.byteLength;
    // Of the four, the last two fit.
    const keptBytes = size(utterances[2]!) + size(utterances[3]!);
    const few = new Features(corpus, processor, { keptBytes });
    // By the corpus' word: nothing is read.
    const exact = await features.lengths(utterances);
    expect(await few.lengths(utterances)).toEqual(exact);
    expect(heard).toEqual([]);
    for (const utterance of utterances) {
      await few.load([utterance]);
      expect(few.get(utterance)).toEqual(features.get(utterance));
    }
    await few.load([utterances[2]!]);
    expect(heard).toEqual(['u0.wav', 'u1.wav', 'u2.wav', 'u3.wav']);
    await few.load([utterances[0]!]);
    // The longest unused went, which was not the first that came.
    expect(few.get(utterances[3]!)).toBeUndefined();
    expect(few.get(utterances[2]!)).toBeDefined();
    // What is asked for together is there together, whatever it takes.
    await few.load(utterances);
    for (const utterance of utterances) expect(few.get(utterance)).toBeDefined();
  });

  test('are those of the sound, where two splits call different ones by one id', async () => {
    const [first, second] = items.map(({ utterance }) => utterance);
    const twin = { ...second!, id: first!.id };
    const both = new Features(features.corpus, processor);
    await both.load([first!]);
    await both.load([twin]);
    expect(both.get(twin)).toEqual(features.get(second!));
    expect(both.get(first!)).toEqual(features.get(first!));
    expect(both.get(first!)).not.toEqual(both.get(twin));
  });

  test('training on them is the same to the bit', async () => {
    const few = new Features(features.corpus, processor, { keptBytes: 1 });
    const run = async (own: Features): Promise<number[]> => {
      const losses: number[] = [];
      await finetune(makeModel(), items, own, {
        ...{ batchSize: 2, seed: 3, learningRate: 1e-3, epochs: 3 },
        onStep: ({ loss }) => void losses.push(loss),
      });
      return losses;
    };
    const losses = await run(new Features(features.corpus, processor));
    expect(losses).toHaveLength(6);
    expect(await run(few)).toEqual(losses);
  });

  const vocabSize = 425;
  function makeModel(): Qwen2Audio {
    const raw = {
      model_type: 'qwen2_audio',
      audio_token_index: processor.audioTokenId,
      audio_config: {
        d_model: 32,
        encoder_layers: 1,
        encoder_attention_heads: 2,
        encoder_ffn_dim: 64,
        max_source_positions: 50,
      },
      text_config: {
        vocab_size: vocabSize,
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 2,
        eos_token_id: tokenizer.tokenToId('<|im_end|>'),
        pad_token_id: tokenizer.tokenToId('<|endoftext|>'),
      },
    };
    return new Qwen2Audio(parseConfig(raw), { generator: new Generator(4) });
  }

  async function learn(
    own: readonly TrainingItem[],
    options: Partial<TranslationOptions>,
    steps: number,
  ): Promise<{ entries: TrainingLogEntry[]; task: TranslationTask }> {
    const model = makeModel();
    const all = { batchSize: 4, seed: 1, ...options };
    const ctc = all.ctcWeight ? new CtcHead(32, vocabSize, new Generator(5)) : undefined;
    const parameters = new Map<string, Tensor>(model.namedParameters());
    for (const [name, value] of ctc?.namedParameters() ?? []) parameters.set(`ctc.${name}`, value);
    const task = new TranslationTask(own, features, model, all, ctc);
    const entries: TrainingLogEntry[] = [];
    await train({
      parameters,
      steps,
      learningRate: 5e-3,
      schedule: 'constant',
      maxGradNorm: 1,
      microBatches: (step) => task.microBatches(step),
      loss: (micro, step) => task.loss(micro, step),
      onStep: (entry) => void entries.push(entry),
    });
    model.dispose();
    ctc?.dispose();
    return { entries, task };
  }
  const losses = (entries: readonly TrainingLogEntry[]): number[] =>
    entries.map(({ loss }) => loss);

  test('learns, with SpecAugment, from translations and from CTC', async () => {
    const specAugment = { frequencyWidth: 10, timeWidth: 5, timeFraction: 0.2 };
    const { entries } = await learn(items, { specAugment, ctcWeight: 0.5, ctcSteps: 5 }, 40);
    // The curriculum: CTC alone, then both.
    expect(entries[4]).not.toHaveProperty('translation');
    expect(entries[4]!.loss).toBeCloseTo(0.5 * entries[4]!.ctc!, 5);
    const [first, last] = [entries[5]!, entries.at(-1)!];
    expect(first.loss).toBeCloseTo(first.translation! + 0.5 * first.ctc!, 5);
    expect(first.translation).toBeGreaterThan(5);
    expect(last.translation!).toBeLessThan(first.translation! / 3);
    expect(last.ctc!).toBeLessThan(entries[0]!.ctc! / 3);
  });

  test('is a function of the step and the seed', async () => {
    const specAugment = {};
    const [a, b, c] = [
      await learn(items, { specAugment, batchSize: 2, transcribeRate: 0.5 }, 4),
      await learn(items, { specAugment, batchSize: 2, transcribeRate: 0.5 }, 4),
      await learn(items, { specAugment, batchSize: 2, transcribeRate: 0.5, seed: 2 }, 4),
    ];
    expect(a.task.stepsPerEpoch).toBe(2);
    expect(losses(b.entries)).toEqual(losses(a.entries));
    expect(losses(c.entries)).not.toEqual(losses(a.entries));
    // Any step by itself is the same, whatever was asked for before: a resumed run sees no other.
    const model = makeModel();
    const options = { batchSize: 2, seed: 1, transcribeRate: 0.5 };
    const task = new TranslationTask(items, features, model, options, undefined);
    const targets = (step: number): number[] =>
      [...task.microBatches(step)].map(({ batch }) => batch.targets!.count);
    const forwards = [0, 1, 2, 3].map(targets);
    expect([3, 1, 2, 0].map(targets)).toEqual([3, 1, 2, 0].map((step) => forwards[step]));
    model.dispose();
  });

  test('weighs micro-batches by their targets', async () => {
    const options = { ctcWeight: 0.5 };
    const whole = await learn(items, options, 3);
    const parts = await learn(items, { ...options, microBatchSize: 1 }, 3);
    for (const [i, { loss, gradNorm }] of parts.entries.entries()) {
      expect(loss / whole.entries[i]!.loss).toBeCloseTo(1, 4);
      expect(gradNorm / whole.entries[i]!.gradNorm).toBeCloseTo(1, 3);
    }
  });

  test('packed, weighs and learns the same', async () => {
    for (const options of [{}, { ctcWeight: 0.5, ctcSteps: 1 }, { microBatchSize: 3 }]) {
      const padded = await learn(items, { ...options, transcribeRate: 0.5 }, 4);
      const packed = await learn(items, { ...options, transcribeRate: 0.5, packing: true }, 4);
      for (const [i, { loss, gradNorm, tokens }] of packed.entries.entries()) {
        const wanted = padded.entries[i]!;
        expect(Math.abs(loss / wanted.loss - 1)).toBeLessThan(1e-5);
        expect(Math.abs(gradNorm / wanted.gradNorm - 1)).toBeLessThan(1e-4);
        expect(tokens).toBe(wanted.tokens);
      }
    }
    const model = makeModel();
    const packs = (packing: boolean): boolean[] => {
      const task = new TranslationTask(
        items,
        features,
        model,
        { batchSize: 4, seed: 1, packing },
        undefined,
      );
      return [...task.microBatches(0)].map(({ batch }) => batch.packing !== undefined);
    };
    expect([packs(true), packs(false)]).toEqual([[true], [false]]);
    model.dispose();
  });

  test('in bfloat16 is near to float32', async () => {
    const wide = await learn(items, {}, 2);
    const half = await learn(items, { bf16: true }, 2);
    expect(half.entries[0]!.loss).not.toBe(wide.entries[0]!.loss);
    expect(half.entries[0]!.loss / wide.entries[0]!.loss).toBeCloseTo(1, 1);
  });

  test('takes an utterance twice in a batch, as references and translations of a teacher', async () => {
    const twice = items.flatMap(({ utterance }) => [
      { utterance, targets: [{ task: 'de', text: utterance.translations.de! }] },
      { utterance, targets: [{ task: 'de', text: 'Tag' }] },
    ]);
    const { entries } = await learn(twice, { batchSize: 8, ctcWeight: 0.5 }, 30);
    expect(entries.at(-1)!.ctc!).toBeLessThan(entries[0]!.ctc! / 2);
  });

  test('passes over transcripts that the rate leaves out, alone or with a whole step', async () => {
    const mixed = items.map(({ utterance }, i) => ({
      utterance,
      targets: [i === 0 ? items[0]!.targets[0]! : { task: 'transcribe', text: utterance.text }],
    }));
    for (const options of [{}, { microBatchSize: 1 }, { ctcWeight: 0.5 }]) {
      const { entries } = await learn(mixed, { ...options, transcribeRate: 0 }, 2);
      expect(entries).toHaveLength(2);
      expect(entries.every(({ loss }) => loss > 0)).toBe(true);
    }
    // A step of which nothing would be left learns its transcripts after all.
    const { entries } = await learn(mixed.slice(1), { transcribeRate: 0 }, 1);
    expect(entries[0]!.loss).toBeGreaterThan(1);
  });

  test('leaves no tensor behind', async () => {
    const run = (): Promise<unknown> => learn(items, { ctcWeight: 0.5, specAugment: {} }, 2);
    await run();
    await settle();
    const before = memory();
    await run();
    expect(memory()).toEqual(before);
  });
});
