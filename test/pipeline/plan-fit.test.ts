/** Runs that cannot fit stop before any work, and what they advise does fit. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { availableHere, PlanError, planRecipe, readRecipe, runRecipe } from '../../lib/pipeline';
import { planInputs } from '../../lib/pipeline/plan-inputs';
import { checkFit } from '../../lib/pipeline/plan-fit';
import { stagesOf } from '../../lib/pipeline/plan-stages';
import { publicShapes } from '../../lib/qwen2-audio/public-shapes';
import { tinyCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe } from './tiny-recipe';

let dir: string;
let tiny: string;
let output: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-fit-'));
  tinyCorpus(join(dir, 'corpus'));
  output = join(dir, 'run');
  tiny = writeRecipe(dir, tinyRecipe(join(dir, 'corpus'), output));
  mkdirSync(join(dir, 'base'));
  writeFileSync(join(dir, 'base', 'config.json'), JSON.stringify(publicShapes['qwen2-audio-7b']));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const paper = join(__dirname, '../../recipes/paper-de.yaml');
const enough = { memory: 1e15, disk: 1e15 };

/** The message with which a recipe does not fit, or nothing. */
async function misfit(
  file: string,
  machine: { memory: number; disk: number; gpu?: number },
  { set = [], stages, device }: { set?: string[]; stages?: string[]; device?: string } = {},
): Promise<string | undefined> {
  const { recipe } = readRecipe(file, set);
  try {
    checkFit(file, await planInputs(file, recipe, { device }), { machine, stages });
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(PlanError);
    return (error as Error).message;
  }
}

const settingsIn = (message: string): string[] =>
  Array.from(message.matchAll(/--set (\S+=[^\s;]+)/g), ([, setting]) => setting!);

test('a run stops before any work, in one line that says what would fit', async () => {
  const plan = await planRecipe(tiny);
  const memory = Math.max(...plan.stages.map(({ peak }) => peak)) - 1e5;
  const run = runRecipe(tiny, { machine: { ...enough, memory } });
  await expect(run).rejects.toThrow(PlanError);
  await expect(run).rejects.toThrow(
    /tiny\.yaml: the stage teacher needs 0\.\d+ GB of memory at its peak, 0\.\d+ GB are available/,
  );
  await expect(run).rejects.toThrow(/--set teacher\.train\.microBatchSize=2.*--ignore-plan/);
  expect(existsSync(output)).toBe(false);
});

test.each([
  // Of the paper's model, with 80 GB: one change is not enough, and the fewest are found.
  { gigabytes: 80, stage: 'teacher', settings: 2 },
  { gigabytes: 100, stage: 'teacher', settings: 1 },
])('%j: the fewest settings, which fit', async ({ gigabytes, stage, settings }) => {
  const given = [`teacher.checkpoint=${join(dir, 'base')}`, 'corpus.path=/nowhere', 'variants='];
  const machine = { ...enough, memory: gigabytes * 1e9 };
  const message = (await misfit(paper, machine, { set: given, stages: [stage] }))!;
  const found = settingsIn(message);
  expect(found).toHaveLength(settings);
  expect(await misfit(paper, machine, { set: [...given, ...found], stages: [stage] })).toBe(
    undefined,
  );
  for (const left of found) {
    const fewer = found.filter((one) => one !== left);
    expect(await misfit(paper, machine, { set: [...given, ...fewer], stages: [stage] })).toMatch(
      /does not fit|needs/,
    );
  }
});

test('on a GPU its memory counts, and the machine’s for what is not there', async () => {
  const given = [`teacher.checkpoint=${join(dir, 'base')}`, 'corpus.path=/nowhere', 'variants='];
  const small = ['teacher.train.weights=bfloat16', 'teacher.train.optimizer=adamw8bit'];
  const options = { set: [...given, ...small], stages: ['teacher'], device: 'cuda' };
  // Full fine-tuning of the 7B on one GPU of 80 GB, in a machine of 16.
  expect(await misfit(paper, { disk: 1e15, memory: 16e9, gpu: 80e9 }, options)).toBe(undefined);
  expect(await misfit(paper, { disk: 1e15, memory: 16e9, gpu: 48e9 }, options)).toMatch(
    /the stage teacher needs 5\d\.\d\d GB of the GPU's memory at its peak, 48\.00 GB are available/,
  );
  expect(await misfit(paper, { disk: 1e15, memory: 1e9, gpu: 80e9 }, options)).toMatch(
    /the stage teacher needs \d\.\d\d GB of memory at its peak, 1\.00 GB are available/,
  );
  // What is not on the GPU is not counted there, and what backward keeps there is not less.
  const { recipe } = readRecipe(paper, options.set);
  const [onCpu, onGpu] = await Promise.all(
    ['cpu', 'cuda'].map(async (device) => {
      const plan = stagesOf(await planInputs(paper, recipe, { device }));
      return plan.find(({ name }) => name === 'teacher')!;
    }),
  );
  const { weights, gradients, optimizer, activations, features } = onCpu!.memory;
  expect(onGpu!.deviceMemory).toMatchObject({ weights, gradients, optimizer });
  expect(onGpu!.deviceMemory!.activations).toBeGreaterThan(activations!);
  expect(Object.keys(onGpu!.memory)).toEqual(['program', 'features']);
  expect(onGpu!.memory.features).toBe(features);
});

test('what no setting makes fit is told with the least that it takes', async () => {
  const given = [`teacher.checkpoint=${join(dir, 'base')}`, 'corpus.path=/nowhere', 'variants='];
  const message = await misfit(paper, { ...enough, memory: 24e9 }, { set: given });
  expect(message).toMatch(/the stage teacher needs 139\.\d+ GB .* no setting makes it fit/);
  expect(message).toMatch(/\(5\d\.\d+ GB at least with .*weights=bfloat16\)/);
});

test('decoding that does not fit takes fewer rows', async () => {
  const set = ['generation.batchSize=4096'];
  const { stages } = await planRecipe(tiny, { set });
  const evaluation = stages.find(({ name }) => name === 'evaluation-teacher')!;
  const machine = { ...enough, memory: evaluation.peak - 1 };
  const message = await misfit(tiny, machine, { set, stages: ['evaluation-teacher'] });
  expect(settingsIn(message!)).toEqual(['generation.batchSize=2048']);
});

test('too little disk names what keeps the most, and what would keep less', async () => {
  const { disk } = await planRecipe(tiny);
  const message = (await misfit(tiny, { ...enough, disk: disk - 1 }))!;
  expect(message).toMatch(/of disk, most of it teacher, .* are free where .*run goes/);
  expect(settingsIn(message)).toEqual(['teacher.train.keep=1']);
  expect(await misfit(tiny, { ...enough, disk: 1 })).toMatch(/name another output/);
});

test('stages that are finished do not count', async () => {
  const { stages } = await planRecipe(tiny);
  const machine = { ...enough, memory: 1 };
  const last = stages.at(-1)!.name;
  for (const { name } of stages.slice(0, -1)) {
    mkdirSync(join(output, name), { recursive: true });
    writeFileSync(join(output, name, 'stage.json'), '{}');
  }
  try {
    expect(await misfit(tiny, machine)).toContain(`the stage ${last} needs`);
    writeFileSync(join(output, stages[0]!.name, 'stage.json'), '{}');
    mkdirSync(join(output, last));
    writeFileSync(join(output, last, 'stage.json'), '{}');
    expect(await misfit(tiny, machine)).toBeUndefined();
    // It is held against the machine when it is its turn: these are of no settings at all.
    await expect(runRecipe(tiny, { machine })).rejects.toThrow(/the stage \S+ needs .* \(0\.3/s);
  } finally {
    rmSync(output, { recursive: true });
  }
});

test('a run that does not fit goes on where it is told to', async () => {
  const short = {
    ...tinyRecipe(join(dir, 'corpus'), join(dir, 'short')),
    ...{ importance: undefined, heal: undefined, quantize: undefined, distill: undefined },
  };
  const file = writeRecipe(
    dir,
    JSON.parse(JSON.stringify(short)) as object as typeof short,
    's.yaml',
  );
  const set = ['teacher.train.steps=1'];
  const machine = { memory: 1, disk: 1 };
  await expect(runRecipe(file, { set, machine })).rejects.toThrow(PlanError);
  const { student } = await runRecipe(file, { set, machine, ignorePlan: true });
  expect(existsSync(student)).toBe(true);
}, 120_000);

test('what this machine has', () => {
  const { memory, disk } = availableHere(join(dir, 'not', 'there'));
  expect(memory).toBeGreaterThan(1e8);
  expect(disk).toBeGreaterThan(0);
  expect(Number.isFinite(disk)).toBe(true);
});
