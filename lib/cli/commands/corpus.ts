import { Command } from 'commander';
import type { ColumnNames, CorpusCheck } from '../../data';
import { collect, examples, positiveNumber } from '../arguments';
import type { Context } from '../context';
import { columnsOption, corpusForms, corpusOf } from '../corpus-options';
import { interruptible } from '../interruption';
import { duration, Progress } from '../progress';

export function corpusCommand(context: Context): Command {
  return new Command('corpus')
    .description('Look into a corpus.')
    .addHelpText('after', examples('pare corpus check corpora/talks', 'pare corpus check --help'))
    .addCommand(checkCommand(context));
}

interface Options {
  split?: string[];
  columns?: ColumnNames;
  maxSeconds: number;
  json?: boolean;
}

function checkCommand(context: Context): Command {
  return new Command('check')
    .description('Read a corpus whole, and tell what it holds and what is wrong with it.')
    .argument('<corpus>', corpusForms)
    .option('--split <name>', 'only this split; may be given several times', collect)
    .addOption(columnsOption())
    .option('--max-seconds <x>', 'what a model hears of a file at most', positiveNumber, 30)
    .option('--json', 'print {dir, languages, splits, problems}')
    .addHelpText(
      'after',
      examples(
        'pare corpus check corpora/talks',
        'pare corpus check corpora/talks --json',
        'pare corpus check owner/dataset:en_de --split validation --split test',
        'pare corpus check corpora/covost --columns text=sentence,de=translation',
      ) +
        '\nThe exit status is 1 if something is wrong that spoils a run: damaged, silent or too long\n' +
        'files, rows that cannot be used, an empty split, a sound that is there twice, splits that share\n' +
        'what they must not. It is 0 where there are only warnings.\n',
    )
    .action(async (corpus: string, { split: splits, columns, maxSeconds, json }: Options) => {
      const { checkCorpus } = await import('../../data');
      const source = await corpusOf({ corpus, columns });
      const progress = new Progress(context.stderr, context.now);
      try {
        const check = await interruptible((signal) =>
          checkCorpus(source, {
            ...{ maxSeconds, splits, signal },
            onProgress: (done, total, what) => progress.update(what, done, total),
          }),
        );
        progress.stop();
        if (json) context.print(JSON.stringify(check));
        else for (const line of lines(check)) context.print(line);
        if (check.problems.some(({ severity }) => severity === 'error')) context.exitCode = 1;
      } finally {
        progress.stop();
      }
    });
}

function lines({ languages, splits, problems }: CorpusCheck): string[] {
  const about = splits.map(({ split, utterances, seconds, speakers, sampleRates, duplicates }) => {
    const rates = Object.entries(sampleRates).map(([rate, files]) => `${rate} Hz (${files})`);
    if (utterances === 0) return `${split}: 0 utterances`;
    const { total, shortest, median, longest } = seconds;
    const range = [shortest, median, longest].map((value) => value.toFixed(1)).join(' / ');
    const heard = speakers === undefined ? 'speakers not told' : `${speakers} speakers`;
    const twice = Object.entries(duplicates).map(([what, count]) => `${count} ${what}`);
    return (
      `${split}: ${utterances} utterances, ${heard}, ${duration(total)}; ` +
      `shortest / median / longest ${range} s; ${rates.join(', ')}; ` +
      `there before: ${twice.join(', ')}`
    );
  });
  const wrong = problems.map(
    ({ severity, split, ids, what }) =>
      `${severity}: ${[split, ...(ids.length > 0 ? [ids.join(', ')] : [])].join(': ')}: ${what}`,
  );
  const pair = `${languages.source} into ${languages.targets.join(', ')}`;
  return [pair, ...about, ...(wrong.length > 0 ? wrong : ['nothing is wrong'])];
}
