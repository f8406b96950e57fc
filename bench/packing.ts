/**
 * What packing saves: processor seconds of a training step (forward, backward, AdamW), padded and
 * packed in turn on the same steps of the demo's corpus.
 *
 *   demo   the demo's teacher
 *   wide   the same with a decoder of width 768, MLP 2048, four layers
 *
 *   npx tsc -p bench/tsconfig.json
 *   PARE_ADDON=build/pare.node node build/bench/bench/packing.js [demo|wide] [BATCH] [STEPS] [bf16]
 *
 * Prints a line of JSON: the share of padding in the decoder's tokens, the seconds, and their ratio.
 */
import { join } from 'node:path';
import { randomModel, trainingItems } from '../lib/compress';
import { openCorpus } from '../lib/data';
import { demoCorpusDir } from '../lib/pipeline/demo-corpus';
import { loadModel, Processor, readConfig, type Qwen2Audio } from '../lib/qwen2-audio';
import { Features } from '../lib/train/examples';
import { backward, optim, scope } from '../lib/torch';
import { TranslationTask } from '../lib/train/translation';
import { root } from './settings';

const [name = 'demo', batch = '32', count = '20', precision] = process.argv.slice(2);
const [batchSize, steps, bf16] = [Number(batch), Number(count), precision === 'bf16'];
/** Steps in which kernels are compiled. */
const warmUp = 4;
const teacher = join(root, 'recipes/demo-teacher');
const processor = Processor.fromPretrained(teacher, readConfig(teacher));

function newModel(): Qwen2Audio {
  if (name === 'demo') return loadModel(teacher);
  const audio = {
    ...{ d_model: 256, encoder_layers: 4, encoder_attention_heads: 4, encoder_ffn_dim: 768 },
    max_source_positions: 150,
  };
  const text = {
    ...{ hidden_size: 768, intermediate_size: 2048, num_hidden_layers: 4 },
    ...{ num_attention_heads: 12, num_key_value_heads: 4, initializer_range: 0.02 },
  };
  return randomModel({ audio, text }, processor, 1, 'float32');
}

interface Run {
  task: TranslationTask;
  optimizer: optim.AdamW;
  tokens: number;
  computed: number;
  seconds: number;
  loss: number;
}

function learn(run: Run, step: number): void {
  const { task, optimizer } = run;
  const before = process.cpuUsage();
  scope(() => {
    for (const micro of task.microBatches(step)) {
      const { loss } = task.loss(micro, step);
      backward(loss);
      run.loss = loss.item();
      run.tokens += micro.batch.lengths.reduce((a, b) => a + b);
      run.computed += micro.batch.inputIds.numel;
    }
    optimizer.step(1e-4);
    optimizer.zeroGrad();
  });
  const { user, system } = process.cpuUsage(before);
  if (step >= warmUp) run.seconds += (user + system) / 1e6;
}

async function main(): Promise<void> {
  const corpus = await openCorpus(demoCorpusDir());
  const items = trainingItems((await corpus.read('train')).slice(0, 16 * batchSize), ['de', 'zh']);
  const features = new Features(corpus, processor);
  const lengths = await features.lengths(items.map(({ utterance }) => utterance));
  const runs = [false, true].map((packing): Run => {
    const model = newModel();
    model.train();
    const options = { batchSize, seed: 1, transcribeRate: 0.2, bf16, packing };
    const task = new TranslationTask(items, features, model, options, undefined, lengths);
    const parameters = new Map(model.requiresGrad(true).namedParameters());
    const optimizer = new optim.AdamW([{ parameters, weightDecay: 0 }]);
    return { task, optimizer, tokens: 0, computed: 0, seconds: 0, loss: NaN };
  });
  for (let step = 0; step < steps; step++) {
    await runs[0]!.task.load(step);
    // Each is first in turn.
    for (const run of step % 2 === 0 ? runs : [...runs].reverse()) learn(run, step);
  }
  console.log(
    JSON.stringify({
      ...{ name, batchSize, steps, bf16 },
      padding: runs.map(({ tokens, computed }) => 1 - tokens / computed),
      processorSeconds: runs.map(({ seconds }) => seconds / (steps - warmUp)),
      ratio: runs[1]!.seconds / runs[0]!.seconds,
      lastLosses: runs.map(({ loss }) => loss),
    }),
  );
}

void main();
