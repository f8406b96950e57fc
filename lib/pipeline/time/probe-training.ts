/** Seconds of a training step, timed on the program's own task, loss, backward and optimiser. */
import { multiplications, trainingLoad, type Clip } from '../workload';
import type { Layers, ProbeModel } from './probe-model';
import { lineThrough, nextWork, secondsFor, type Budget, type Line, type Point } from './stopwatch';
import { Trainer, type Step, type Update } from './trainer';

/** Seconds of the processors that a step takes, and what else a stage takes beside its steps. */
export interface StepCost {
  /** A step whose kernels are compiled. */
  seconds: number;
  /** Until the first step runs as fast as others. */
  start: number;
  /** For a micro-batch of a shape that comes first: its kernels are compiled. */
  shape: number;
  extrapolated: number;
}

/** What a step costs, from what `allowance` seconds of the processors let be tried. */
export async function stepSeconds(
  probe: ProbeModel,
  step: Step,
  allowance: number,
  budget: Budget,
): Promise<StepCost> {
  const { shape, layers, microBatches, trained, settings } = step;
  const window = 2 * shape.audio.maxSourcePositions;
  const lines = await linesOf(probe, step, allowance, budget);
  const { vocabulary } = probe.layers;
  let seconds = 0;
  for (const clips of microBatches) {
    const load = trainingLoad(clips, window);
    const of = (part: Part): number => {
      const { line, layers: timed } = lines.parts[part]!;
      return secondsFor(line, multiplications(shape, load, timed));
    };
    if (probe.isWhole) {
      seconds += of('whole');
      continue;
    }
    const none = of('none');
    // What lm_head has more rows of, at the pace of all else.
    const head = load.targets * shape.text.hiddenSize * (layers.vocabulary - vocabulary);
    seconds +=
      none +
      layers.encoder * Math.max(0, of('encoder') - none) +
      layers.decoder * Math.max(0, of('decoder') - none) +
      Math.max(0, head) * lines.parts.decoder!.line.each;
  }
  const sums = microBatches.length > 1 && settings.weights === 'bfloat16' ? 1.5 : 1;
  const { update, moments, start, compiling } = lines;
  const of = (probe.isWhole ? lines.parts.whole : lines.parts.decoder)!;
  const extrapolated = of.extrapolated * (probe.isWhole ? 1 : layers.decoder);
  return {
    ...{ seconds: seconds + sums * trained * update, start: start + trained * moments },
    ...{ shape: compiling, extrapolated },
  };
}

/** Of a large model, what has no layers, and what has one of a kind. */
type Part = 'whole' | 'none' | 'encoder' | 'decoder';

interface Timed {
  line: Line;
  extrapolated: number;
}

interface Lines extends Update {
  parts: Partial<Record<Part, Timed & { layers: Layers }>>;
  start: number;
  compiling: number;
}

/** What was timed of a large model, by the settings: stages with the same ones share it. */
const known = new WeakMap<ProbeModel, Map<string, Lines>>();

async function linesOf(
  probe: ProbeModel,
  step: Step,
  allowance: number,
  budget: Budget,
): Promise<Lines> {
  const { layers, settings, ctcOnly } = step;
  const { bf16, gradientCheckpointing, optimizer, lora, ctcWeight, maxGradNorm } = settings;
  const mode = { bf16, gradientCheckpointing, optimizer, lora, ctcWeight, maxGradNorm, ctcOnly };
  const key = JSON.stringify(probe.isWhole ? [mode, step] : mode);
  const all = known.get(probe) ?? new Map<string, Lines>();
  known.set(probe, all);
  const found = all.get(key);
  if (found !== undefined) return found;
  using trainer = new Trainer(probe, step, budget);
  const { vocabulary } = probe.layers;
  const parts: Lines['parts'] = {};
  if (probe.isWhole) {
    const of = { ...layers, vocabulary };
    parts.whole = { ...(await measure(trainer, of, 0.8 * allowance)), layers: of };
  } else {
    const none = { encoder: 0, decoder: 0, vocabulary };
    const of = { none, encoder: { ...none, encoder: 1 }, decoder: { ...none, decoder: 1 } };
    // Most of such a model is its decoder.
    const shares = { none: 0.1, encoder: 0.25, decoder: 0.55 };
    for (const part of ['none', 'encoder', 'decoder'] as const) {
      const share = shares[part] * allowance;
      parts[part] = { ...(await measure(trainer, of[part], share)), layers: of[part] };
    }
  }
  const { start, compiling } = trainer;
  const lines = { parts, ...(await trainer.timeUpdate()), start, compiling };
  all.set(key, lines);
  return lines;
}

/** Times larger and larger parts of a micro-batch, as far as the share goes. */
async function measure(trainer: Trainer, layers: Layers, share: number): Promise<Timed> {
  const { probe, budget } = trainer;
  const { shape, microBatches } = trainer.step;
  const workOf = (clips: readonly Clip[]): number =>
    multiplications(shape, trainingLoad(clips, 2 * shape.audio.maxSourcePositions), layers);
  probe.only(layers);
  const until = budget.used + share;
  const largest = microBatches[0]!;
  const full = workOf(largest);
  const points: Point[] = [];
  for (let clips = smallest(largest, 32); ;) {
    const work = workOf(clips);
    let seconds = await trainer.time(clips, until, points.length === 0);
    // More at a time is not slower for each: something else held it up, and it is tried again.
    const before = points.at(-1);
    if (before !== undefined && seconds / work > 1.1 * (before.seconds / before.work)) {
      seconds = Math.min(seconds, await trainer.time(clips, 0));
    }
    points.push({ work, seconds });
    const next = nextWork(points, full, until - budget.used);
    if (next === undefined) break;
    clips = reduced(largest, next / full);
    if (workOf(clips) < 1.2 * work) break;
  }
  const last = points.at(-1)!;
  const exact = last.work >= 0.99 * full;
  const line = exact ? { fixed: 0, each: last.seconds / last.work } : lineThrough(points);
  return { line, extrapolated: full / last.work };
}

/** The first clip, or a piece of it where the whole is long. */
function smallest(clips: readonly Clip[], frames: number): Clip[] {
  const [{ frames: all, targets }] = clips as [Clip, ...Clip[]];
  const least = Math.ceil(frames / 8);
  return [{ frames: Math.min(all, frames), targets: targets.map((n) => Math.min(n, least)) }];
}

/** So large a part of a micro-batch: fewer clips, or a part of one. */
function reduced(clips: readonly Clip[], part: number): Clip[] {
  // Rather one too many: points that are too near to each other make no line.
  const count = Math.ceil(part * clips.length);
  // The last ones: a batch is sorted by length, and padded to the longest.
  if (part * clips.length >= 1) return clips.slice(-count);
  const [{ frames, targets }] = clips.slice(-1) as [Clip];
  const of = (all: number, least: number): number =>
    Math.min(all, Math.max(least, Math.round(all * part * clips.length)));
  return [{ frames: of(frames, 32), targets: targets.map((n) => of(n, 4)) }];
}
