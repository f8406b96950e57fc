import { Command, Option } from 'commander';
import {
  checkpointArgument,
  collect,
  deviceOption,
  examples,
  layerList,
  positiveInteger,
  revisionOption,
} from '../arguments';
import type { Context } from '../context';
import { columnsOption, corpusForms, corpusOf, type CorpusOptions } from '../corpus-options';
import { resumable } from '../interruption';
import { Progress } from '../progress';

const criteria = ['chrf++', 'chrf', 'bleu', 'loss'] as const;

interface Options extends CorpusOptions {
  output: string;
  revision?: string;
  remove: number;
  criterion: (typeof criteria)[number];
  split: string;
  to?: string[];
  limit?: number;
  protect?: number[];
  maxNewTokens: number;
  batchSize: number;
  device?: string;
  json?: boolean;
}

export function importanceCommand(context: Context): Command {
  return new Command('importance')
    .description('Find the decoder layers that a task does not need.')
    .argument('<dir>', checkpointArgument)
    .addOption(revisionOption())
    .requiredOption('--corpus <name>', corpusForms)
    .addOption(columnsOption())
    .requiredOption('--remove <n>', 'layers to remove', positiveInteger)
    .requiredOption('--output <file>', 'where the scores of all candidates go, as JSON')
    .addOption(
      new Option('--criterion <name>', 'what a candidate is scored by')
        .choices(criteria)
        .default('chrf++'),
    )
    .option('--split <name>', 'split to choose on; not the one that is reported', 'dev')
    .option('--to <language>', 'German, Chinese or a code; all targets unless given', collect)
    .option('--limit <n>', 'utterances at most, from the beginning', positiveInteger)
    .option('--protect <list>', 'layers that stay, beside the first and the last', layerList)
    .option('--max-new-tokens <n>', 'tokens of a translation at most', positiveInteger, 128)
    .option('--batch-size <n>', 'utterances decoded together', positiveInteger, 8)
    .addOption(deviceOption())
    .option('--json', 'print {removed, kept, fullScore, iterations}')
    .addHelpText(
      'after',
      examples(
        'pare importance teacher --corpus corpora/talks --to German --remove 8 --output layers.json',
        'pare importance teacher --corpus corpora/talks --remove 4 --criterion loss --output l.json',
      ) +
        '\nAn interrupted search goes on from OUTPUT.trace.jsonl, and so does a longer one.\n' +
        'pare prune removes what was found.\n',
    )
    .action(async (dir: string, options: Options) => {
      const { split, to, limit, output, remove, criterion, protect } = options;
      const { maxNewTokens, batchSize, revision, device } = options;
      const { searchCheckpoint } = await import('../../pipeline');
      const progress = new Progress(context.stderr, context.now);
      const result = await resumable(context, progress, async (signal) =>
        searchCheckpoint(dir, output, {
          ...{
            corpus: await corpusOf(options),
            split,
            languages: to,
            limit,
            remove,
            criterion,
            maxNewTokens,
            batchSize,
          },
          ...{ protectedLayers: protect, signal, revision, device, env: context.env },
          onWarning: progress.warn,
          onProgress: ({ label, done, total }) => progress.update(label, done, total),
        }),
      );
      if (result === undefined) return;
      if (options.json) {
        context.print(JSON.stringify(result));
        return;
      }
      context.print(`all layers: ${result.fullScore.toFixed(2)}`);
      for (const { removed, candidates } of result.iterations) {
        const { score } = candidates.find(({ layer }) => layer === removed)!;
        context.print(`without layer ${removed}: ${score.toFixed(2)}`);
      }
      const layers = [...result.removed].sort((a, b) => a - b).join(',');
      const at = revision === undefined ? dir : `${dir} --revision ${revision}`;
      context.print(`pare prune ${at} --layers ${layers} --output SMALLER`);
    });
}
