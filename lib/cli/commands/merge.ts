import { Command, Option } from 'commander';
import type { MergeReport } from '../../compress/merge';
import {
  checkpointArgument,
  collect,
  examples,
  positiveInteger,
  revisionOption,
  UsageError,
} from '../arguments';
import type { Context } from '../context';
import { columnsOption, corpusOf, type CorpusOptions } from '../corpus-options';
import { interruptible } from '../interruption';
import { Progress } from '../progress';
import { fetching } from '../streaming';

interface Options extends Partial<CorpusOptions> {
  adapter?: string;
  revision?: string;
  output: string;
  quantize?: 'nf4';
  split: string;
  to?: string[];
  limit?: number;
  batchSize: number;
  json?: boolean;
}

export function mergeCommand(context: Context): Command {
  return new Command('merge')
    .description('Merge an adapter into the weights, and say what that costs.')
    .argument('<dir>', checkpointArgument)
    .addOption(revisionOption())
    .requiredOption('--output <dir>', 'new folder; must not exist')
    .option('--adapter <dir>', "adapter in PEFT's format; the checkpoint's own unless given")
    .addOption(
      new Option('--quantize <format>', 'write linear layers in 4 bits again').choices(['nf4']),
    )
    .option('--corpus <name>', 'measure adapter, merged and requantised model on this corpus')
    .addOption(columnsOption())
    .option('--split <name>', 'split to measure on; not the one that is reported', 'dev')
    .option('--to <language>', 'German, Chinese or a code; all targets unless given', collect)
    .option('--limit <n>', 'utterances at most, from the beginning', positiveInteger)
    .option('--batch-size <n>', 'utterances heard together', positiveInteger, 8)
    .option('--json', 'print {output, written, forms, dev, recommended, …}; also in merge.json')
    .addHelpText(
      'after',
      examples(
        'pare merge runs/demo/student/model --output merged --corpus corpora/demo',
        'pare merge base --adapter runs/qlora/adapter --output merged',
        'pare merge student --output small --quantize nf4 --corpus corpora/demo --to German --json',
      ) +
        '\nWithout --quantize the weights are written in full precision (bfloat16 over a 4-bit base).\n' +
        'Rounding to 4 bits again can lose what the adapter learnt: give a corpus and read the loss,\n' +
        'in nats per reference token, and the share of tokens predicted as with the adapter.\n',
    )
    .action(async (dir: string, options: Options, command: Command) => {
      const { adapter, revision, output, quantize } = options;
      const { corpus, columns, split, to, limit, batchSize } = options;
      const given = ['columns', 'split', 'to', 'limit', 'batchSize'].find(
        (name) => command.getOptionValueSource(name) === 'cli',
      );
      if (corpus === undefined && given !== undefined) {
        const { long } = command.options.find((option) => option.attributeName() === given)!;
        throw new UsageError(`${long} is for a corpus; give one (--corpus)`);
      }
      const { mergeCheckpoint } = await import('../../compress/merge');
      const progress = new Progress(context.stderr, context.now);
      try {
        const dev =
          corpus === undefined
            ? undefined
            : {
                corpus: await corpusOf({ corpus, columns }),
                ...{ split, languages: to, limit, batchSize },
              };
        const onProgress = progress.update;
        const report = await interruptible((signal) =>
          mergeCheckpoint(dir, output, {
            ...{ adapter, revision, quantize, dev, onProgress, signal },
            ...{ env: context.env, onFetch: fetching(progress) },
          }),
        );
        progress.stop();
        if (options.json) context.print(JSON.stringify(report));
        else for (const line of table(report)) context.print(line);
      } finally {
        progress.stop();
      }
    });
}

function table({ output, written, forms, dev, recommended }: MergeReport): string[] {
  const number = new Intl.NumberFormat('en');
  const bytesOf = (bytes: number): string => number.format(bytes).padStart(16);
  const rows = forms.map(({ form, bytes, loss, tokenAgreement }) => {
    const measured =
      loss === null
        ? ''
        : `${loss.toFixed(4).padStart(10)}${(100 * tokenAgreement!).toFixed(2).padStart(11)} %`;
    return form.padEnd(12) + bytesOf(bytes) + measured;
  });
  if (dev === null) {
    return [
      `${output}: ${written}; nothing was measured (give --corpus)`,
      `${''.padEnd(12)}${'bytes'.padStart(16)}`,
      ...rows,
    ];
  }
  const { split, languages, utterances, tokens } = dev;
  return [
    `${output}: ${written}`,
    `${''.padEnd(12)}${'bytes'.padStart(16)}${'loss'.padStart(10)}${'agreement'.padStart(13)}`,
    ...rows,
    `${split}, ${languages.join(' and ')}: ${utterances} utterances, ${number.format(tokens)} tokens`,
    `recommended: ${recommended!.form}; ${recommended!.reason}`,
  ];
}
