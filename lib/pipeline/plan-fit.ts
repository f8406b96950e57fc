/** Whether a recipe fits the machine, and which settings would make it fit. */
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { PareError } from '../errors';
import type { Machine } from './machine';
import type { PlannedStage } from './plan';
import type { PlanInputs } from './plan-inputs';
import { diskOf, stagesOf } from './plan-stages';
import type { Recipe, TrainingSettings } from './recipe-schema';

/** A recipe whose plan asks for more than the machine has. */
export class PlanError extends PareError {}

/** A recipe's key with another value. */
interface Change {
  key: string;
  value: number | string | boolean;
}

/** What to hold a plan against. */
export interface FitOptions {
  machine: Machine;
  /** Processes of this machine that follow the recipe together; 1 unless given. */
  processes?: number;
  /** Which stages are held against it; those that are not finished unless given. */
  stages?: readonly string[];
}

/** Memory that a stage needs some of. */
interface Room {
  /** What is needed of it, for people. */
  name: string;
  has: number;
  need(stage: PlannedStage): number;
}

/** The machine's memory, and the GPU's, of which each process has one of its own. */
function roomsOf({ machine, processes = 1 }: FitOptions): Room[] {
  return [
    {
      name: `memory at its peak${processes > 1 ? ` in ${processes} processes` : ''}`,
      has: machine.memory,
      need: ({ peak }) => processes * peak,
    },
    {
      name: "the GPU's memory at its peak",
      has: machine.gpu ?? Infinity,
      need: ({ devicePeak = 0 }) => devicePeak,
    },
  ];
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

/**
 * Holds a plan against a machine, stage by stage.
 * @throws PlanError as {@link misfitOf} gives it
 */
export function checkFit(file: string, inputs: PlanInputs, options: FitOptions): void {
  const misfit = misfitOf(file, inputs, options);
  if (misfit !== undefined) throw misfit;
}

/**
 * The error that names the first stage which does not fit, what it needs, what there is, and the
 * fewest settings with which all stages are planned to fit; undefined where all of them do.
 */
export function misfitOf(
  file: string,
  inputs: PlanInputs,
  options: FitOptions,
): PlanError | undefined {
  const { machine } = options;
  const rooms = roomsOf(options);
  const lacking = (stage: PlannedStage): Room | undefined =>
    rooms.find(({ has, need }) => need(stage) > has);
  const open = stagesOf(inputs).filter(({ name }) =>
    options.stages === undefined ? !isFinished(inputs.recipe, name) : options.stages.includes(name),
  );
  const misfits = open.filter((stage) => lacking(stage) !== undefined);
  const fits = (recipe: Recipe, name: string): boolean =>
    lacking(stageOf({ ...inputs, recipe }, name)) === undefined;
  const changes: Change[] = [];
  const first = misfits[0];
  for (const { name } of misfits) {
    const now = changed(inputs.recipe, changes);
    if (fits(now, name)) continue;
    const found = fewestChanges(now, memoryOptions(now, name), (one) => fits(one, name));
    if (found === undefined) return noneFits(file, inputs, name, lacking);
    changes.push(...found);
  }
  if (first !== undefined) {
    const { name, has, need } = lacking(first)!;
    return new PlanError(
      `${file}: the stage ${first.name} needs ${gigabytes(need(first))} of ${name}, ` +
        `${gigabytes(has)} are available; ${advice(inputs, misfits, changes, need)}`,
    );
  }
  return diskMisfit(file, inputs, open, machine);
}

function diskMisfit(
  file: string,
  inputs: PlanInputs,
  open: readonly PlannedStage[],
  { disk }: Machine,
): PlanError | undefined {
  const needs = diskOf(open);
  if (needs <= disk) return undefined;
  const names = new Set(open.map(({ name }) => name));
  const needOf = (recipe: Recipe): number =>
    diskOf(stagesOf({ ...inputs, recipe }).filter(({ name }) => names.has(name)));
  const largest = open.reduce((a, b) => (b.workDisk > a.workDisk ? b : a));
  const changes: Change[] = [];
  for (const { name } of [...open].sort((a, b) => b.workDisk - a.workDisk)) {
    const now = changed(inputs.recipe, changes);
    const options = diskOptions(now, name);
    const found = fewestChanges(now, options, (one) => needOf(one) <= disk);
    if (found !== undefined) {
      changes.push(...found);
      break;
    }
    // Two stages may have to change, of which neither is enough: take what there is.
    changes.push(...options.map(([change]) => change!));
  }
  const least = needOf(changed(inputs.recipe, changes));
  const what =
    least <= disk
      ? `planned to fit (${gigabytes(least)}): ${asSettings(changes)}; --ignore-plan goes on nevertheless`
      : 'name another output (--set output=DIR) or free some; --ignore-plan goes on nevertheless';
  return new PlanError(
    `${file}: the stages to come need ${gigabytes(needs)} of disk, most of it ${largest.name}, ` +
      `${gigabytes(disk)} are free where ${inputs.recipe.output} goes; ${what}`,
  );
}

function advice(
  inputs: PlanInputs,
  misfits: readonly PlannedStage[],
  changes: readonly Change[],
  need: Room['need'],
): string {
  const recipe = changed(inputs.recipe, changes);
  const peak = Math.max(...misfits.map(({ name }) => need(stageOf({ ...inputs, recipe }, name))));
  const others = misfits.length > 1 ? ` (${misfits.length} stages do not fit)` : '';
  return (
    `planned to fit (${gigabytes(peak)}): ${asSettings(changes)}${others}; ` +
    '--ignore-plan goes on nevertheless'
  );
}

function noneFits(
  file: string,
  inputs: PlanInputs,
  name: string,
  lacking: (stage: PlannedStage) => Room | undefined,
): PlanError {
  const room = lacking(stageOf(inputs, name))!;
  const peakOf = (recipe: Recipe): number => room.need(stageOf({ ...inputs, recipe }, name));
  const need = peakOf(inputs.recipe);
  let least = need;
  let all: Change[] = [];
  // Every set is looked at: none of them fits.
  fewestChanges(inputs.recipe, memoryOptions(inputs.recipe, name), (recipe, changes) => {
    if (peakOf(recipe) < least) [least, all] = [peakOf(recipe), [...changes]];
    return false;
  });
  const with_ = all.length === 0 ? '' : ` with ${asSettings(all)}`;
  return new PlanError(
    `${file}: the stage ${name} needs ${gigabytes(need)} of ${room.name}, ` +
      `${gigabytes(room.has)} are available, and no setting makes it fit ` +
      `(${gigabytes(least)} at least${with_}); take a machine with more, or go on with --ignore-plan`,
  );
}

function asSettings(changes: readonly Change[]): string {
  return changes.map(({ key, value }) => `--set ${key}=${String(value)}`).join(' ');
}

function stageOf(inputs: PlanInputs, name: string): PlannedStage {
  return stagesOf(inputs).find((stage) => stage.name === name)!;
}

/** The recipe's section that a stage trains by. */
function trainingOf(recipe: Recipe, name: string): [string, TrainingSettings] | undefined {
  const { teacher, heal, distill } = recipe;
  if (name === 'teacher' && teacher.train) return ['teacher.train', teacher.train];
  if (name === 'healed' && heal) return ['heal', heal];
  if (name === 'student' && distill) return ['distill', distill];
  return undefined;
}

/** Half of a number, half of that, and so on down to 1. */
function halves(from: number): number[] {
  return from <= 1 ? [] : [Math.floor(from / 2), ...halves(Math.floor(from / 2))];
}

/**
 * What would take less memory, what costs least first; of each kind the mildest first. Rows that are
 * together change nothing of the result, checkpointing only the time.
 */
function memoryOptions(recipe: Recipe, name: string): Change[][] {
  const training = trainingOf(recipe, name);
  if (training === undefined) {
    const key = 'generation.batchSize';
    const rows = halves(recipe.generation.batchSize).map((value) => ({ key, value }));
    return name === 'pruned' || name === 'quantized' || rows.length === 0 ? [] : [rows];
  }
  const [key, settings] = training;
  const { microBatchSize = settings.batchSize, gradientCheckpointing } = settings;
  const rows = halves(microBatchSize).map((value) => ({ key: `${key}.microBatchSize`, value }));
  return [
    ...(rows.length === 0 ? [] : [rows]),
    ...(gradientCheckpointing ? [] : [[{ key: `${key}.gradientCheckpointing`, value: true }]]),
    ...smaller(key, settings),
  ];
}

function smaller(key: string, { optimizer, weights }: TrainingSettings): Change[][] {
  return [
    ...(optimizer === 'adamw8bit' ? [] : [[{ key: `${key}.optimizer`, value: 'adamw8bit' }]]),
    ...(weights === 'bfloat16' ? [] : [[{ key: `${key}.weights`, value: 'bfloat16' }]]),
  ];
}

function diskOptions(recipe: Recipe, name: string): Change[][] {
  const training = trainingOf(recipe, name);
  if (training === undefined) return [];
  const [key, settings] = training;
  const keep = settings.keep === 1 ? [] : [[{ key: `${key}.keep`, value: 1 }]];
  return [...keep, ...smaller(key, settings)];
}

/** The fewest changes, each of another kind, with which a recipe fits; the earlier kinds first. */
function fewestChanges(
  recipe: Recipe,
  options: readonly (readonly Change[])[],
  fits: (recipe: Recipe, changes: readonly Change[]) => boolean,
): Change[] | undefined {
  const sets = Array.from({ length: 2 ** options.length - 1 }, (_, i) =>
    options.filter((__, kind) => ((i + 1) >> kind) & 1),
  ).sort((a, b) => a.length - b.length);
  for (const kinds of sets) {
    const mildest = (
      chosen: readonly Change[],
      rest: readonly (readonly Change[])[],
    ): Change[] | undefined => {
      const [next, ...others] = rest;
      if (next === undefined)
        return fits(changed(recipe, chosen), chosen) ? [...chosen] : undefined;
      for (const change of next) {
        const found = mildest([...chosen, change], others);
        if (found !== undefined) return found;
      }
      return undefined;
    };
    const found = mildest([], kinds);
    if (found !== undefined) return found;
  }
  return undefined;
}

function changed(recipe: Recipe, changes: readonly Change[]): Recipe {
  const copy = structuredClone(recipe);
  for (const { key, value } of changes) {
    const keys = key.split('.');
    const last = keys.pop()!;
    const section = keys.reduce<Record<string, unknown>>(
      (at, part) => at[part] as Record<string, unknown>,
      copy as unknown as Record<string, unknown>,
    );
    section[last] = value;
  }
  return copy;
}

/**
 * Whether a stage's artifact lies in the run folder, or in that of another run beside or below it.
 * It may be one of other settings: then the stage is held against the machine when it is its turn.
 */
function isFinished({ output, importance, heal }: Recipe, name: string): boolean {
  const inRounds = heal?.every !== undefined && /^(?:importance|pruned|healed)$/.test(name);
  const rounds = inRounds ? Math.ceil(importance!.remove / heal.every!) : 0;
  const folder = rounds === 0 ? name : `${name}-${rounds}`;
  const root = resolve(output);
  const below = (dir: string): string[] => {
    try {
      const entries = readdirSync(dir, { withFileTypes: true });
      return entries.flatMap((one) => (one.isDirectory() ? [join(dir, one.name)] : []));
    } catch {
      return [];
    }
  };
  return [root, ...below(root)].some((dir) => existsSync(join(dir, folder, 'stage.json')));
}
