/** How long a stage that trains will take. */
import { trainingSteps } from '../../compress';
import type { Utterance } from '../../data';
import { clipsOf, learntBy, type Trained } from '../lessons';
import type { PlannedStage } from '../plan';
import type { PlanInputs } from '../plan-inputs';
import { stateBytes } from '../plan-memory';
import type { Rates } from './rates';
import type { Layers, ProbeModel } from './probe-model';
import type { ProbeTexts } from './probe-texts';
import { stepSeconds } from './probe-training';
import type { Budget } from './stopwatch';
import type { Settings } from './trainer';
import { multiplications, shapesIn, trainingLoad, typicalBatch, type Clip } from '../workload';

/** What a stage learns, and in how many steps. */
interface Lessons {
  settings: Settings & { transcribeRate?: number; ctcSteps?: number };
  utterances: readonly Utterance[];
  clips: Clip[];
  batchSize: number;
  steps: number;
  microBatchesOf(all: readonly Clip[]): Clip[][];
  layers: Layers;
  /** Multiplications of a forward pass. */
  costOf(all: readonly Clip[]): number;
  /** A batch that stands for all, and the mean of all by it. */
  typical: { indices: number[]; mean: number };
}

function lessonsOf(name: Trained, inputs: PlanInputs, texts: ProbeTexts): Lessons {
  const { recipe, shape } = inputs;
  const { teacher, heal, distill, importance, seed } = recipe;
  const settings: Lessons['settings'] =
    name === 'teacher' ? teacher.train! : name === 'healed' ? heal! : distill!;
  const utterances = learntBy(name, inputs);
  const window = 2 * shape.audio.maxSourcePositions;
  const clips = clipsOf(name, inputs, texts.count.bind(texts));
  const layers = {
    encoder: shape.audio.encoderLayers,
    decoder: shape.text.numHiddenLayers - (name === 'teacher' ? 0 : (importance?.remove ?? 0)),
    vocabulary: shape.text.vocabSize,
  };
  const batchSize = Math.min(settings.batchSize, clips.length);
  const microBatchesOf = (all: readonly Clip[]): Clip[][] => {
    const size = settings.microBatchSize ?? settings.batchSize;
    return Array.from({ length: Math.ceil(all.length / size) }, (_, i) =>
      all.slice(i * size, (i + 1) * size),
    );
  };
  const costOf = (all: readonly Clip[]): number =>
    microBatchesOf(all).reduce(
      (sum, micro) => sum + multiplications(shape, trainingLoad(micro, window), layers),
      0,
    );
  const typical = typicalBatch(clips, batchSize, settings.seed ?? seed, costOf);
  const steps = trainingSteps(settings, Math.ceil(clips.length / batchSize));
  return {
    ...{ settings, utterances, clips, batchSize, steps, microBatchesOf, layers, costOf, typical },
  };
}

/** Multiplications of a stage that trains: backward has twice as many as forward. */
export function trainingWork(name: Trained, inputs: PlanInputs, texts: ProbeTexts): number {
  const { clips, steps, costOf, typical } = lessonsOf(name, inputs, texts);
  return 3 * steps * typical.mean * costOf(typical.indices.map((i) => clips[i]!));
}

/** Seconds of the processors that a stage takes, saves and audio included. */
export async function trainingSeconds(
  name: Trained,
  {
    inputs,
    stage,
    probe,
    texts,
    rates,
  }: {
    inputs: PlanInputs;
    stage: PlannedStage;
    probe: ProbeModel;
    texts: ProbeTexts;
    rates: Rates;
  },
  allowance: number,
  budget: Budget,
): Promise<{ seconds: number; extrapolated: number }> {
  const { recipe, shape, splits } = inputs;
  const { teacher, languages, seed } = recipe;
  const lessons = lessonsOf(name, inputs, texts);
  const { settings, utterances, clips, batchSize, steps, microBatchesOf, layers, typical } =
    lessons;
  const window = 2 * shape.audio.maxSourcePositions;
  const microBatches = microBatchesOf(typical.indices.map((i) => clips[i]!));
  const { trained } = stage;
  const step = { shape, layers, microBatches, trained, languages, settings };
  const ctcSteps = Math.min(steps, settings.ctcWeight ? (settings.ctcSteps ?? 0) : 0);
  const part = ctcSteps > 0 ? allowance / 2 : allowance;
  const alone =
    ctcSteps > 0 ? await stepSeconds(probe, { ...step, ctcOnly: true }, part, budget) : undefined;
  const cost = await stepSeconds(probe, step, part, budget);
  const shapes = shapesIn(clips, batchSize, steps, settings.seed ?? seed, (batch) =>
    microBatchesOf(batch).map((micro) => trainingLoad(micro, window)),
  );
  const saves = Math.ceil(steps / settings.saveEvery);
  const heard = utterances.reduce((sum, { seconds: one }) => sum + one, 0);
  const isFirst = name === 'teacher' || (teacher.train === undefined && name === 'healed');
  const again = name === 'student' ? inputs.extra.reduce((sum, u) => sum + u.seconds, 0) : 0;
  return {
    seconds:
      cost.start +
      typical.mean * ((steps - ctcSteps) * cost.seconds + ctcSteps * (alone?.seconds ?? 0)) +
      // The first one is in what the start takes.
      (shapes - 1) * cost.shape +
      saves * trained * stateBytes(settings) * rates.write +
      // Written, and read again for its digest.
      1.5 * stage.disk * rates.write +
      stage.parameters * rates.load +
      (isFirst ? heard : again) * rates.audio +
      (teacher.random !== undefined && name === 'teacher'
        ? texts.secondsToLearn * splits.train.length
        : 0),
    extrapolated: cost.extrapolated,
  };
}
