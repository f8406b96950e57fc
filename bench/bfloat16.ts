/**
 * Does full training in bfloat16 reach what float32 reaches? Each task is trained from one start, in
 * one order, with weights in float32 and in bfloat16, rounded stochastically and to the nearest:
 *
 *   scratch  the demo's task from random weights, its times of day alone ("Thursday at eight fifty")
 *   heal     the demo's teacher without ten of its twelve decoder layers
 *   slow     the same with steps as small beside the weights as the paper's 1e-5
 *
 *   npx tsc -p bench/tsconfig.json
 *   PARE_ADDON=build/pare.node node build/bench/bench/bfloat16.js [TASK]...
 *
 * PARE_BENCH_SEED is 1 unless given. Prints a line of JSON a run: losses of the last steps and on
 * the dev split, chrF and exact match there. docs/memory.md has the numbers.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  evaluateModel,
  finetune,
  heldOutLoss,
  randomModel,
  trainingItems,
  trainTokenizer,
  type FinetuneOptions,
} from '../lib/compress';
import { openCorpus, type Corpus, type Utterance } from '../lib/data';
import { demoCorpusDir, ensureDemoCorpus } from '../lib/pipeline/demo-corpus';
import { loadModel, Processor, readConfig, type Qwen2Audio } from '../lib/qwen2-audio';
import { Tokenizer } from '../lib/text';
import { Features } from '../lib/train/examples';
import { root } from './settings';

const language = 'de';
const seed = Number(process.env.PARE_BENCH_SEED ?? 1);

type Weights = 'float32' | 'bfloat16';
const variants: Record<
  string,
  Pick<FinetuneOptions, 'optimizer' | 'rounding'> & { weights: Weights }
> = {
  'float32, adamw': { weights: 'float32' },
  'float32, adamw8bit': { weights: 'float32', optimizer: 'adamw8bit' },
  'bfloat16 stochastic, adamw8bit': { weights: 'bfloat16', optimizer: 'adamw8bit' },
  'bfloat16 nearest, adamw8bit': {
    weights: 'bfloat16',
    optimizer: 'adamw8bit',
    rounding: 'nearest',
  },
};

interface Task {
  train: readonly Utterance[];
  dev: readonly Utterance[];
  processor: Processor;
  newModel(weights: Weights): Qwen2Audio;
  training: Omit<FinetuneOptions, 'seed'>;
}

const corpusDir = demoCorpusDir();

async function scratch(corpus: Corpus, folder: string): Promise<Task> {
  const of = async (split: string): Promise<Utterance[]> =>
    (await corpus.read(split)).filter(({ group }) => group!.startsWith('time:'));
  const train = await of('train');
  trainTokenizer(folder, train, [language], 420);
  const tokenizer = Tokenizer.fromPretrained(folder);
  const processor = new Processor({ tokenizer, maxSourcePositions: 150 });
  const shape = {
    audio: {
      ...{ d_model: 128, encoder_layers: 2, encoder_attention_heads: 4, encoder_ffn_dim: 256 },
      max_source_positions: 150,
    },
    text: {
      ...{ hidden_size: 96, intermediate_size: 192, num_hidden_layers: 3 },
      ...{ num_attention_heads: 4, num_key_value_heads: 4, initializer_range: 0.05 },
    },
  };
  return {
    ...{ train, dev: await of('dev'), processor },
    newModel: (weights) => randomModel(shape, processor, seed, weights),
    training: {
      ...{ steps: 600, batchSize: 16, learningRate: 2e-3, betas: [0.9, 0.98], weightDecay: 0.05 },
      ...{ warmupSteps: 50, maxGradNorm: 1, ctcWeight: 0.5, ctcSteps: 250 },
      gradientCheckpointing: true,
    },
  };
}

async function heal(corpus: Corpus, learningRate: number): Promise<Task> {
  const teacher = join(root, 'recipes/demo-teacher');
  const processor = Processor.fromPretrained(teacher, readConfig(teacher));
  return {
    // As many as are heard.
    ...{
      train: (await corpus.read('train')).slice(0, 960),
      dev: await corpus.read('dev'),
      processor,
    },
    newModel: (weights) => {
      const model = loadModel(teacher, { dtype: weights });
      const { layers } = model;
      for (const layer of layers.splice(1, layers.length - 2)) layer.dispose();
      return model;
    },
    training: {
      ...{ steps: 120, batchSize: 8, learningRate, betas: [0.9, 0.98], weightDecay: 0.01 },
      ...{ warmupSteps: 10, maxGradNorm: 1, gradientCheckpointing: true },
    },
  };
}

const tasks: Record<string, (corpus: Corpus, folder: string) => Promise<Task>> = {
  scratch,
  heal: (corpus) => heal(corpus, 5e-4),
  slow: (corpus) => heal(corpus, 5e-5),
};

async function measure(name: string, folder: string): Promise<void> {
  const corpus = await openCorpus(corpusDir);
  const { train, dev, processor, newModel, training } = await tasks[name]!(corpus, folder);
  const features = new Features(corpus, processor);
  const items = trainingItems(train, [language]);
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  for (const [variant, { weights, ...options }] of Object.entries(variants)) {
    const model = newModel(weights);
    const losses: number[] = [];
    const started = performance.now();
    await finetune(model, items, features, {
      ...{ ...training, ...options, seed },
      onStep: ({ step, loss }) => {
        losses.push(loss);
        if (step % 50 !== 0) return;
        console.error(`${name}, ${variant}: ${step}, ${mean(losses.slice(-50))}`);
      },
    });
    const seconds = (performance.now() - started) / 1000;
    const { loss: devLoss } = await heldOutLoss(model, features, dev, [language]);
    const generation = { maxNewTokens: 24, batchSize: 40, samples: 200 };
    const [evaluation] = await evaluateModel(model, features, dev, [language], generation);
    model.dispose();
    const { chrf, exact_match: exact } = evaluation!.scores;
    const scores = { devLoss, chrf: chrf.score, exact: exact.score };
    const trainLoss = mean(losses.slice(-20));
    console.log(JSON.stringify({ task: name, variant, trainLoss, ...scores, seconds }));
  }
}

async function main(): Promise<void> {
  await ensureDemoCorpus(corpusDir, {});
  const folder = mkdtempSync(join(tmpdir(), 'pare-bfloat16-'));
  const named = process.argv.slice(2);
  try {
    for (const name of named.length > 0 ? named : Object.keys(tasks)) await measure(name, folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

void main();
