import { Command } from 'commander';
import {
  checkpointArgument,
  collect,
  deviceOption,
  examples,
  percentage,
  positiveInteger,
  revisionOption,
} from '../arguments';
import type { Context } from '../context';
import { columnsOption, corpusForms, corpusOf, type CorpusOptions } from '../corpus-options';
import { interruptible } from '../interruption';
import { Progress } from '../progress';

interface Options extends CorpusOptions {
  output: string;
  revision?: string;
  split: string;
  to?: string[];
  limit?: number;
  minChrf: number;
  maxNewTokens: number;
  batchSize: number;
  device?: string;
  json?: boolean;
}

export function distillCommand(context: Context): Command {
  return new Command('distill')
    .description('Have a teacher translate a split, and keep what a student can learn from.')
    .argument('<teacher>', checkpointArgument)
    .addOption(revisionOption())
    .requiredOption('--corpus <name>', corpusForms)
    .addOption(columnsOption())
    .requiredOption('--output <file>', 'where the translations go, as JSON')
    .option('--split <name>', 'split to translate', 'train')
    .option('--to <language>', 'German, Chinese or a code; all targets unless given', collect)
    .option('--limit <n>', 'utterances at most, from the beginning', positiveInteger)
    .option('--min-chrf <x>', 'drop what is below this chrF against the reference', percentage, 0)
    .option('--max-new-tokens <n>', 'tokens of a translation at most', positiveInteger, 128)
    .option('--batch-size <n>', 'utterances decoded together', positiveInteger, 8)
    .addOption(deviceOption())
    .option('--json', 'print what was kept and dropped, by language')
    .addHelpText(
      'after',
      examples(
        'pare distill teacher --corpus corpora/talks --to German --output texts.json',
        'pare distill teacher --corpus corpora/talks --min-chrf 40 --output texts.json --json',
      ) +
        '\nDropped are empty texts, such as were cut off, and such as the reference has.\n' +
        'pare finetune --teacher-texts learns from the file.\n',
    )
    .action(async (teacher: string, options: Options) => {
      const { split, to, limit, minChrf, maxNewTokens, batchSize, output, revision, device } =
        options;
      const { distillCorpus } = await import('../../pipeline');
      const progress = new Progress(context.stderr, context.now);
      try {
        const counts = await interruptible(async (signal) =>
          distillCorpus(teacher, output, {
            ...{
              corpus: await corpusOf(options),
              split,
              languages: to,
              limit,
              minChrf,
              maxNewTokens,
              batchSize,
              signal,
              revision,
              device,
              env: context.env,
            },
            onProgress: ({ label, done, total }) => progress.update(label, done, total),
          }),
        );
        progress.stop();
        if (options.json) {
          context.print(JSON.stringify(counts));
          return;
        }
        for (const [language, { translated, kept, duplicates, broken, tooFar }] of Object.entries(
          counts,
        )) {
          context.print(
            `${language}: ${kept} of ${translated} kept; ${duplicates} as the reference, ` +
              `${broken} broken, ${tooFar} too far from it`,
          );
        }
      } finally {
        progress.stop();
      }
    });
}
