import { Command } from 'commander';
import type { Evaluation, MetricKey } from '../../compress';
import {
  checkpointArgument,
  type ComputeDType,
  collect,
  deviceOption,
  dtypeOption,
  examples,
  positiveInteger,
  revisionOption,
} from '../arguments';
import type { Context } from '../context';
import { columnsOption, corpusForms, corpusOf, type CorpusOptions } from '../corpus-options';
import { Progress } from '../progress';

interface Options extends CorpusOptions {
  model: string;
  revision?: string;
  adapter?: string;
  dtype?: ComputeDType;
  split: string;
  to?: string[];
  limit?: number;
  maxNewTokens: number;
  batchSize: number;
  device?: string;
  json?: boolean;
}

export function evaluateCommand(context: Context): Command {
  return new Command('evaluate')
    .description('Translate a split of a corpus and score it, every metric with its interval.')
    .requiredOption('--model <dir>', checkpointArgument)
    .addOption(revisionOption())
    .requiredOption('--corpus <name>', corpusForms)
    .addOption(columnsOption())
    .option('--split <name>', 'split to translate', 'test')
    .option('--to <language>', 'German, Chinese or a code; all targets unless given', collect)
    .option('--limit <n>', 'utterances at most, from the beginning', positiveInteger)
    .option('--max-new-tokens <n>', 'tokens of a translation at most', positiveInteger, 128)
    .option('--batch-size <n>', 'utterances decoded together', positiveInteger, 8)
    .option('--adapter <dir>', "adapter in PEFT's format; the model's own unless given")
    .addOption(dtypeOption())
    .addOption(deviceOption())
    .option(
      '--json',
      'print {model, corpus, split, language, segments, scores, texts, …}, one a language',
    )
    .addHelpText(
      'after',
      examples(
        'pare evaluate --model checkpoints/student --corpus corpora/demo',
        'pare evaluate --model checkpoints/student --corpus corpora/demo --to German --json',
        'pare evaluate --model checkpoints/student --corpus corpora/demo --split dev --limit 50',
        'pare evaluate --model checkpoints/student --corpus corpora/demo --json > student.jsonl',
      ) +
        '\nScores are 0 to 100; intervals are of 95 %, by 1000 seeded bootstrap resamples.\n' +
        'pare compare tells whether two models differ: give it the outputs of --json.\n',
    )
    .action(async (options: Options) => {
      const { evaluateCheckpoint } = await import('../../pipeline');
      const { model, revision, device, adapter, dtype, split, to, limit, maxNewTokens, batchSize } =
        options;
      const corpus = await corpusOf(options);
      const names = { model, corpus: options.corpus, split };
      const progress = new Progress(context.stderr, context.now);
      try {
        await evaluateCheckpoint(model, {
          ...{ corpus, split, languages: to, limit, adapter, dtype, maxNewTokens, batchSize },
          ...{ revision, device, env: context.env },
          onProgress: ({ label, done, total }) => progress.update(label, done, total),
          onEvaluation: (evaluation) =>
            progress.around(() => show(context, names, evaluation, options.json ?? false)),
        });
      } finally {
        progress.stop();
      }
    });
}

const metricNames: Record<MetricKey, string> = {
  bleu: 'BLEU',
  chrf: 'chrF',
  'chrf++': 'chrF++',
  exact_match: 'exact match',
};

function show(
  context: Context,
  names: { model: string; corpus: string; split: string },
  evaluation: Evaluation,
  json: boolean,
): void {
  if (json) {
    context.print(JSON.stringify({ ...names, ...evaluation }));
    return;
  }
  const { language, segments, scores, tokensPerSecond } = evaluation;
  const count = segments === 1 ? '1 segment' : `${segments} segments`;
  const speed = tokensPerSecond.toFixed(1);
  context.print(`${names.split}, ${language}: ${count}, ${speed} tokens/s`);
  for (const [key, { score, low, high, signature }] of Object.entries(scores)) {
    const name = metricNames[key as MetricKey].padEnd(12);
    const interval = `[${low.toFixed(2)}, ${high.toFixed(2)}]`;
    context.print(`  ${name}${score.toFixed(2).padStart(6)}  ${interval.padEnd(18)}${signature}`);
  }
}
