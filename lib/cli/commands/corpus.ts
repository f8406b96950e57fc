import { Command } from 'commander';
import type { CorpusCheck } from '../../data';
import { examples, positiveNumber } from '../arguments';
import type { Context } from '../context';
import { interruptible } from '../interruption';
import { duration, Progress } from '../progress';

export function corpusCommand(context: Context): Command {
  return new Command('corpus')
    .description('Look into a corpus.')
    .addHelpText('after', examples('pare corpus check corpora/talks', 'pare corpus check --help'))
    .addCommand(checkCommand(context));
}

interface Options {
  maxSeconds: number;
  json?: boolean;
}

function checkCommand(context: Context): Command {
  return new Command('check')
    .description('Read a corpus whole, and tell what it holds and what is wrong with it.')
    .argument('<dir>', 'corpus folder (corpus.json and a .jsonl for each split)')
    .option('--max-seconds <x>', 'what a model hears of a file at most', positiveNumber, 30)
    .option('--json', 'print {dir, splits, problems}')
    .addHelpText(
      'after',
      examples('pare corpus check corpora/talks', 'pare corpus check corpora/talks --json') +
        '\nThe exit status is 1 if something is wrong that spoils a run: damaged, silent or too long\n' +
        'files, a sound that is there twice, splits that share what they must not.\n',
    )
    .action(async (dir: string, { maxSeconds, json }: Options) => {
      const { checkCorpus } = await import('../../data');
      const progress = new Progress(context.stderr, context.now);
      try {
        const check = await interruptible((signal) =>
          checkCorpus(dir, {
            ...{ maxSeconds, signal },
            onProgress: (done, total, what) => progress.labelled(what)(done, total),
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

function lines({ splits, problems }: CorpusCheck): string[] {
  const about = splits.map(({ split, utterances, seconds, speakers, sampleRates }) => {
    const rates = Object.entries(sampleRates).map(([rate, files]) => `${rate} Hz (${files})`);
    const { total, shortest, median, longest } = seconds;
    const range = [shortest, median, longest].map((value) => value.toFixed(1)).join(' / ');
    return (
      `${split}: ${utterances} utterances, ${speakers} speakers, ${duration(total)}; ` +
      `shortest / median / longest ${range} s; ${rates.join(', ')}`
    );
  });
  const wrong = problems.map(
    ({ severity, split, ids, what }) => `${severity}: ${split}: ${ids.join(', ')}: ${what}`,
  );
  return [...about, ...(wrong.length > 0 ? wrong : ['nothing is wrong'])];
}
