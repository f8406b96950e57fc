import { join } from 'node:path';
import { Command } from 'commander';
import type { Artifact, RunResult, SweepResult } from '../../pipeline';
import type { Ranks } from '../../ranks';
import {
  collect,
  deviceOption,
  examples,
  positiveInteger,
  repeated,
  wholeNumber,
} from '../arguments';
import type { Context } from '../context';
import { resumable } from '../interruption';
import { duration, Progress } from '../progress';
import { settingsAsUsage } from '../settings';

interface RunFlags {
  fromScratch?: boolean;
  set: string[];
  variant?: string[];
  sweep: string[];
  device?: string;
  tensorboard?: string;
  plan?: boolean;
  time: boolean;
  ignorePlan?: boolean;
  nproc?: number;
  rankTimeout?: number;
  maxRestarts: number;
  json?: boolean;
}

export function runCommand(context: Context): Command {
  return new Command('run')
    .description('Follow a recipe from teacher to report; what is done already is not done again.')
    .argument('<recipe>', 'YAML file; see recipes/')
    .option('--from-scratch', 'train a teacher that has a recipe of its own, instead of taking it')
    .option(
      '--set <key=value>',
      'change the recipe, such as importance.remove=8; an empty value leaves the key out; repeatable',
      repeated,
      [],
    )
    .option('--variant <names>', "of the recipe's variants; all unless given", collect)
    .option(
      '--sweep <key=values>',
      'a run for each value, such as importance.remove=8,10,12, and their comparison; repeatable',
      repeated,
      [],
    )
    .addOption(deviceOption())
    .option('--tensorboard <dir>', "write TensorBoard's event files, a run for each stage")
    .option('--plan', 'say what each stage needs of memory, disk and time, and run nothing')
    .option('--no-time', 'with --plan: no times, which take ten seconds of work to estimate')
    .option('--ignore-plan', 'run although the plan says that memory or disk will not do')
    .option(
      '--nproc <n>',
      'follow the recipe in n processes of this machine; see docs/distributed.md',
      positiveInteger,
    )
    .option(
      '--max-restarts <n>',
      'with --nproc: how often all processes start again when a signal has ended one',
      wholeNumber,
      3,
    )
    .option(
      '--rank-timeout <seconds>',
      'how long a process waits for another one; 600 unless given',
      positiveInteger,
    )
    .option('--json', 'print {dir, student, reportPath, models} in place of the table')
    .addHelpText(
      'after',
      examples(
        'pare run recipes/demo.yaml',
        'pare run recipes/demo.yaml --from-scratch',
        'pare run recipes/demo.yaml --set importance.remove=4 --set output=runs/eight-layers',
        'pare run recipes/demo.yaml --nproc 2',
        'torchrun --no-python --nproc-per-node 2 pare run recipes/demo.yaml',
        'pare run recipes/demo.yaml --plan',
        'pare run recipes/demo.yaml --plan --no-time --json',
        'pare run recipes/demo.yaml --sweep importance.remove=2,4,6',
        'pare run recipes/paper-de.yaml --variant b --tensorboard runs/tensorboard',
        'pare run recipes/demo.yaml --json | tail -n 1 | jq -r .reportPath',
      ) +
        '\nA run that was interrupted goes on where it was: give the same command again.\n' +
        'Ctrl-C stops at the next safe place, a second one at once. A recipe with variants, and\n' +
        '--sweep, give several runs that share what is the same, and with --json an object each\n' +
        'and {dir, reportPath, rows} at the end.\n',
    )
    .action(async (file: string, flags: RunFlags) => {
      await settingsAsUsage(() => checked(file, flags));
      if (flags.plan) return printPlan(context, file, flags);
      const progress = new Progress(context.stderr, context.now);
      const { nproc } = flags;
      if (nproc !== undefined && nproc > 1 && context.env.RANK === undefined) {
        return startRanks(context, nproc, flags.maxRestarts);
      }
      await resumable(context, progress, (signal) =>
        withRanks(context, flags, signal, (ranks) =>
          follow(context, progress, file, flags, signal, ranks),
        ),
      );
    });
}

/** Runs this very command in several processes. */
async function startRanks(context: Context, nproc: number, maxRestarts: number): Promise<void> {
  const { launchRanks } = await import('../../ranks/launch');
  const args = [process.argv[1]!, ...context.args];
  const onLine = (line: string): void => context.note(line);
  context.exitCode = await launchRanks({ nproc, args, onLine, maxRestarts, env: context.env });
}

/** Joins the other ranks, if there are any; only the first one speaks. */
async function withRanks<T>(
  context: Context,
  { rankTimeout: timeoutSeconds }: RunFlags,
  signal: AbortSignal,
  work: (ranks: Ranks | undefined) => Promise<T>,
): Promise<T> {
  if (context.env.RANK === undefined && context.env.WORLD_SIZE === undefined) {
    return work(undefined);
  }
  const { endWithLauncher, Ranks, tellLauncher } = await import('../../ranks');
  endWithLauncher();
  try {
    const ranks = await Ranks.fromEnvironment({ timeoutSeconds, signal });
    if (ranks?.leads === false) context.verbosity = 'quiet';
    const result = await work(ranks);
    await ranks?.close();
    return result;
  } catch (error) {
    await tellLauncher(error);
    throw error;
  }
}

async function printPlan(context: Context, file: string, flags: RunFlags): Promise<void> {
  const { planRecipe, readPoints } = await import('../../pipeline');
  const { planLines } = await import('../plan-table');
  const { sweep, set, variant: variants, device, time } = flags;
  for (const { name, settings } of readPoints(file, { sweep, set, variants })) {
    const plan = await planRecipe(file, { set: settings, env: context.env, device, time });
    if (flags.json) context.print(JSON.stringify({ run: name, ...plan }));
    else {
      if (name !== '') context.print(`${name}:`);
      context.print(`${planLines(plan).join('\n')}\n`);
    }
  }
}

/** A wrong recipe is told before libtorch is loaded. */
async function checked(file: string, { set, sweep, variant }: RunFlags): Promise<void> {
  const { readPoints } = await import('../../pipeline/points');
  readPoints(file, { set, sweep, variants: variant });
}

async function follow(
  context: Context,
  progress: Progress,
  file: string,
  flags: RunFlags,
  signal: AbortSignal,
  ranks: Ranks | undefined,
): Promise<void> {
  const { readRecipe, runRecipe, runSweep } = await import('../../pipeline');
  const { renderTable, renderRuns } = await import('../../report');
  const { fromScratch, ignorePlan, set, sweep, variant, tensorboard, device } = flags;
  const options = {
    ...{ fromScratch, ignorePlan, set, device, tensorboard, signal, ranks, env: context.env },
    onProgress: ({ label, done, total, note }) => progress.update(label, done, total, note),
    onWarning: progress.warn,
    onStage: (name, artifact) => {
      progress.stop();
      context.note(`${name}: ${origin(artifact)}`);
      context.detail(`  ${artifact.dir} (${artifact.hash})`);
    },
  } satisfies Parameters<typeof runRecipe>[1];
  const several = sweep.length > 0 || readRecipe(file, set).recipe.variants !== undefined;
  if (!several) {
    const result = await runRecipe(file, options);
    if (ranks?.leads === false) return;
    if (flags.json) context.print(JSON.stringify(summary(result)));
    else {
      context.print(renderTable(result.report).trimEnd());
      context.print(`\nstudent: ${result.student}\nreport:  ${result.reportPath}`);
    }
    return;
  }
  const result = await runSweep(file, {
    ...options,
    ...{ sweep, variants: variant },
    onRun: (name, i, total) => context.note(`\nrun ${i + 1} of ${total}: ${name}`),
  });
  if (ranks?.leads === false) return;
  const { markdown, json } = renderRuns(result.report);
  if (flags.json) {
    for (const { name, result: one } of result.runs) {
      context.print(JSON.stringify({ run: name, ...summary(one) }));
    }
    const { dir, reportPath } = result;
    context.print(JSON.stringify({ dir, reportPath, rows: json }));
  } else {
    context.print(markdown.trimEnd());
    context.print(`\n${closing(result)}`);
  }
}

function origin({ given, reused, seconds }: Artifact): string {
  if (given) return 'the checkpoint that is given';
  return reused ? 'taken from before' : duration(seconds);
}

function summary({ dir, student, reportPath, report }: RunResult): object {
  return { dir, student, reportPath, models: report.models };
}

function closing({ dir, runs, reportPath }: SweepResult): string {
  const students = runs.map(({ name, result }) => `student of ${name}: ${result.student}`);
  const tables = `tables:  ${join(dir, 'sweep.md')}, ${join(dir, 'sweep.json')}`;
  return [...students, tables, `report:  ${reportPath}`].join('\n');
}
