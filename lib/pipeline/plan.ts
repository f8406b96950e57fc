/** What each stage of a recipe will need, from shapes alone: nothing is loaded and nothing is run. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { PlannedFetch } from '../hub';
import { isCuda } from '../torch/device';
import { availableHere, type Machine } from './machine';
import { misfitOf } from './plan-fit';
import { planInputs, type PlanInputs } from './plan-inputs';
import type { Memory } from './plan-memory';
import { diskOf, stagesOf } from './plan-stages';
import { readRecipe, type Setting } from './recipe';

/** What a stage will need: memory, disk and work. */
export interface PlannedStage {
  name: string;
  /** Logical parameters of the model it works on. */
  parameters: number;
  /** Those that it trains; 0 where it does not train. */
  trained: number;
  /** Bytes at the peak, by what they are for. */
  memory: Memory;
  /** The sum of `memory`. */
  peak: number;
  /** The same of the GPU, where one computes; `memory` is without it then. */
  deviceMemory?: Memory;
  /** The sum of `deviceMemory`. */
  devicePeak?: number;
  /** Bytes that it leaves in the run folder. */
  disk: number;
  /** Bytes beside them while it runs: the checkpoints that a killed run goes on from. */
  workDisk: number;
  /** What is done how often: candidates, steps. */
  work?: string;
  /** What it took, where the run folder has it. */
  seconds?: number;
  /** What it is to take by the clock, on a machine that does nothing else; with `time` alone. */
  expectedSeconds?: number;
  /** The same, of the processors, all threads together. */
  processorSeconds?: number;
  /** How many times as much work that is for as was timed at once; 1 is a whole step or batch. */
  extrapolated?: number;
}

/** What a recipe will need, computed before anything runs. */
export interface Plan {
  stages: PlannedStage[];
  /** The highest of all stages. */
  peak: number;
  /** The same of the GPU, where one computes. */
  devicePeak?: number;
  disk: number;
  /** What a run would fetch first, where the teacher is on the hub. */
  fetch?: PlannedFetch;
  /** Seconds of the processors that times were calibrated in. */
  calibration?: number;
  /** What was taken for granted, for people. */
  assumed: string[];
  /** Why a run would stop before any work, and the settings that would fit. */
  misfit?: string;
}

/** How a recipe is planned. */
export interface PlanOptions {
  /** Changes to the recipe, as `importance.remove=8`, or already read. */
  set?: readonly (string | Setting)[];
  /** HF_HOME and so on, for a teacher on the hub; the process's by default. */
  env?: NodeJS.ProcessEnv;
  /** What there is of memory and disk; what the system says unless given. */
  machine?: Machine;
  /** Where models compute; `cpu` unless given. A GPU need not be here. */
  device?: string;
  /** Also how long each stage will take, from ten seconds of its work; needs the addon. */
  time?: boolean;
}

/**
 * Plans a recipe, as it stands or with changes. Of a teacher on the hub its config.json is fetched.
 * @throws RecipeError, HubError, CompressionError for layers that cannot be removed, and ConfigError
 * for a checkpoint whose shape cannot be read
 */
export async function planRecipe(file: string, options: PlanOptions = {}): Promise<Plan> {
  const { recipe } = readRecipe(file, options.set);
  const inputs = await planInputs(file, recipe, options);
  const machine = options.machine ?? { ...availableHere(recipe.output), gpu: await gpuOf(inputs) };
  const misfit = misfitOf(file, inputs, { machine });
  const plan = { ...planOf(inputs), ...(misfit && { misfit: misfit.message }) };
  if (!options.time) return plan;
  if (isCuda(inputs.device)) {
    return { ...plan, assumed: [...plan.assumed, 'no times: they are calibrated on a CPU alone'] };
  }
  return withTimes(plan, inputs);
}

/** Free memory of the GPU, where one is to compute and is here. */
async function gpuOf({ device, assumed }: PlanInputs): Promise<number | undefined> {
  if (!isCuda(device)) return undefined;
  assumed.push('what CUDA takes for itself, which was not measured');
  const cuda = await import('../torch/cuda').catch(() => undefined);
  if (cuda?.cudaIsAvailable() === true) return cuda.cudaFreeMemory(device);
  assumed.push('the GPU has room: there is none here to hold the plan against');
  return undefined;
}

/** The plan of a recipe whose inputs are read. */
function planOf(inputs: PlanInputs): Plan {
  const { recipe, fetch, assumed } = inputs;
  const stages = stagesOf(inputs).map((stage) => ({
    ...stage,
    seconds: secondsOf(join(resolve(recipe.output), stage.name, 'stage.json')),
  }));
  const peak = Math.max(...stages.map((stage) => stage.peak));
  const devicePeak = isCuda(inputs.device)
    ? Math.max(...stages.map((stage) => stage.devicePeak ?? 0))
    : undefined;
  return {
    stages,
    peak,
    devicePeak,
    disk: diskOf(stages),
    ...(fetch?.files && { fetch }),
    assumed,
  };
}

/** The plan with times; one without where they cannot be had, which is told. */
async function withTimes(plan: Plan, inputs: PlanInputs): Promise<Plan> {
  try {
    const { estimateTimes } = await import('./time/estimate');
    const { stages, calibration, notes } = await estimateTimes(inputs, plan.stages);
    const timed = plan.stages.map((stage) => ({ ...stage, ...stages.get(stage.name) }));
    return { ...plan, stages: timed, calibration, assumed: [...plan.assumed, ...notes] };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { ...plan, assumed: [...plan.assumed, `no times: ${why}`] };
  }
}

function secondsOf(path: string): number | undefined {
  try {
    return (JSON.parse(readFileSync(path, 'utf8')) as { seconds?: number }).seconds;
  } catch {
    return undefined;
  }
}
