/**
 * Training a model on a translation task: the teacher (full), healing after pruning (full), and
 * QLoRA (an adapter over a 4-bit base) are this one function with other parameters.
 */
import { attachLora, setAdapter, type LoraAdapter, type LoraConfig } from '../lora';
import type { Qwen2Audio } from '../qwen2-audio';
import { Generator, manualSeed, type Tensor } from '../torch';
import type { Features } from '../train/examples';
import {
  train,
  type OptimizerOptions,
  type TrainingLogEntry,
  type TrainOptions,
} from '../train/loop';
import { stepMetrics } from '../train/step-metrics';
import {
  CtcHead,
  TranslationTask,
  type TrainingItem,
  type TranslationOptions,
} from '../train/translation';
import { CompressionError } from './error';

type LoopOptions = Pick<
  TrainOptions<unknown>,
  'group' | 'onResume' | 'onSave' | 'onWarning' | 'signal' | 'state'
>;

/** How a model is trained on a task: how long, all of it or an adapter, and who hears of it. */
export interface FinetuneOptions extends OptimizerOptions, TranslationOptions, LoopOptions {
  /** Passes over the items; 1 by default. */
  epochs?: number;
  /** Instead of `epochs`. */
  steps?: number;
  /** Trains an adapter instead of the weights. */
  lora?: LoraConfig;
  /** Hears every step, with what {@link stepMetrics} adds. */
  onStep?: (entry: TrainingLogEntry) => void | Promise<void>;
}

/** Steps of a training: so many, or whole epochs (one unless given), but one at least. */
export function trainingSteps(
  { steps, epochs = 1 }: Pick<FinetuneOptions, 'steps' | 'epochs'>,
  stepsPerEpoch: number,
): number {
  return steps ?? Math.max(1, Math.round(stepsPerEpoch * epochs));
}

/**
 * Trains `model` in place.
 * @returns the adapter, still attached, if `lora` was given
 * @throws CompressionError when there is nothing to train on, TrainingError when the loss breaks
 */
export async function finetune(
  model: Qwen2Audio,
  items: readonly TrainingItem[],
  features: Features,
  options: FinetuneOptions,
): Promise<LoraAdapter | undefined> {
  if (items.length === 0) throw new CompressionError('there is no utterance to train on');
  if ((options.ctcSteps ?? 0) > 0 && !((options.ctcWeight ?? 0) > 0)) {
    throw new CompressionError(
      'the first ctcSteps learn from the CTC loss alone, which has no weight; give ctcWeight, too',
    );
  }
  const lengths = await features.lengths(items.map((item) => item.utterance));
  manualSeed(options.seed);
  const generator = new Generator(options.seed);
  let adapter: LoraAdapter | undefined;
  let parameters: Map<string, Tensor>;
  if (options.lora === undefined) {
    parameters = new Map(model.requiresGrad(true).namedParameters());
  } else {
    adapter = attachLora(model, options.lora, { generator });
    // Of several adapters the new one is trained.
    setAdapter(model, adapter.name);
    parameters = adapter.parameters();
  }
  const { dModel } = model.config.audio;
  const ctc =
    (options.ctcWeight ?? 0) > 0
      ? new CtcHead(dModel, model.config.text.vocabSize, generator, model.dtype).to(model.device)
      : undefined;
  for (const [name, parameter] of ctc?.namedParameters() ?? []) {
    parameters.set(`ctc.${name}`, parameter);
  }
  const { group } = options;
  const task = new TranslationTask(items, features, model, options, ctc, lengths, group);
  const measure = stepMetrics(task.stepsPerEpoch);
  model.train();
  model.gradientCheckpointing = options.gradientCheckpointing ?? false;
  try {
    await train({
      ...options,
      // Always there: without a listener the loop would pass over the step itself.
      onStep: (entry) => options.onStep?.(measure(entry)),
      parameters,
      roundingSeed: options.seed,
      steps: trainingSteps(options, task.stepsPerEpoch),
      prepare: (step) => task.load(step),
      microBatches: (step) => task.microBatches(step),
      describe: (step) => task.describe(step),
      loss: (micro, step) => task.loss(micro, step),
    });
  } finally {
    model.eval();
    model.gradientCheckpointing = false;
    ctc?.dispose();
  }
  return adapter;
}
