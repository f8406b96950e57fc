import { Command } from 'commander';
import type { ResumeVerification } from '../../pipeline';
import { examples, positiveInteger, repeated, seed } from '../arguments';
import type { Context } from '../context';
import { interruptible } from '../interruption';
import { Progress } from '../progress';
import { settingsAsUsage } from '../settings';
import { verificationLines } from '../verification-table';

interface Options {
  kills?: number;
  seed: number;
  set: string[];
  keep?: boolean;
  json?: boolean;
}

export function verifyResumeCommand(context: Context): Command {
  return new Command('verify-resume')
    .description('Kill a run again and again, and show that it ends as one that was left alone.')
    .argument('<recipe>', 'YAML file; see recipes/')
    .option(
      '--kills <n>',
      'how often it is killed; by default in each stage, and four times more',
      positiveInteger,
    )
    .option('--seed <n>', 'of the points at which it is killed', seed, 1)
    .option(
      '--set <key=value>',
      'change the recipe, such as teacher.train.steps=20; repeatable',
      repeated,
      [],
    )
    .option('--keep', 'leave both runs where they are, and say where')
    .option('--json', 'print {identical, firstDifference, kills, seed, stages}')
    .addHelpText(
      'after',
      examples(
        'pare verify-resume recipes/demo.yaml --set importance.remove=1 --set heal.steps=20',
        'pare verify-resume recipes/mine.yaml --kills 30 --seed 7',
        'TMPDIR=/scratch pare verify-resume recipes/mine.yaml --keep --json',
      ) +
        '\nThe recipe is followed twice from the beginning, below the folder for temporary files\n' +
        '(TMPDIR); its own output is not touched. Losses, traces, scores and the bytes of all weights\n' +
        'must be the same. The exit status is 1 if anything differs.\n',
    )
    .action(async (file: string, options: Options) => {
      const { json, ...rest } = options;
      const { readRecipe } = await import('../../pipeline/recipe');
      await settingsAsUsage(() => readRecipe(file, rest.set));
      const { ResumeError, verifyResume } = await import('../../pipeline');
      const progress = new Progress(context.stderr, context.now);
      let result: ResumeVerification;
      try {
        result = await interruptible((signal) =>
          verifyResume(file, {
            ...{ ...rest, signal },
            onProgress: ({ label, done, total }) => progress.update(label, done, total),
            onKill: ({ stage, point }, i, total) => {
              progress.stop();
              context.note(`killed ${i + 1} of ${total}: ${stage}, ${point}`);
            },
          }),
        );
      } finally {
        progress.stop();
      }
      if (json) context.print(JSON.stringify(result));
      else for (const line of verificationLines(result)) context.print(line);
      const { firstDifference } = result;
      if (firstDifference === undefined) return;
      context.fail(new ResumeError(`the run that was killed ended otherwise: ${firstDifference}`));
    });
}
