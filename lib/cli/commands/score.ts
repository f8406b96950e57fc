import { Command } from 'commander';
import type { MetricName } from '../../metrics';
import { examples } from '../arguments';
import type { Context } from '../context';
import { addMetricOptions, type MetricFlags, metricOptionsOf } from '../metric-options';

interface Options extends MetricFlags {
  metric: MetricName[];
  confidence?: boolean;
  json?: boolean;
}

export function scoreCommand(context: Context): Command {
  const command = new Command('score')
    .description('Score translations or transcripts against references, as sacreBLEU does.')
    .argument('<hyp>', 'translations, plain text, a segment a line')
    .argument('<refs...>', 'references in the same order; of several files, lines may be empty');
  return addMetricOptions(command, { required: true })
    .option('--confidence', 'add the 95 % interval, by 1000 seeded bootstrap resamples')
    .option('--json', 'print {metric, score, signature, …}, one a metric')
    .addHelpText(
      'after',
      examples(
        'pare score hyp.de ref.de --metric bleu',
        'pare score hyp.zh ref.zh --metric bleu --tokenize zh --json',
        'pare score hyp.de ref-a.de ref-b.de --metric bleu,chrf++,ter --confidence',
        'pare score hyp.en ref.en --metric wer --normalizer english',
      ) + '\nTo tell whether two systems differ: pare compare.\n',
    )
    .action(async (hyp: string, refs: string[], options: Options) => {
      const { metric: names, confidence = false } = options;
      const metricOptions = metricOptionsOf(options, names);
      const metrics = await import('../../metrics');
      const { bootstrapInterval, corpusScore, createMetricFor, MetricError } = metrics;
      const hypotheses = metrics.readSegments(hyp);
      const references = metrics.readReferences(refs);
      for (const name of names) {
        const metric = createMetricFor(name, undefined, metricOptions);
        const score = namingFiles(MetricError, `${hyp} against ${refs.join(', ')}`, () =>
          confidence
            ? bootstrapInterval(metric, hypotheses, references)
            : corpusScore(metric, hypotheses, references),
        );
        if (options.json) {
          // The metric's printed name is not the one that it is asked for by.
          context.print(JSON.stringify({ metric: name, ...score, name: undefined }));
          continue;
        }
        const value = score.score.toFixed(2);
        const interval =
          'low' in score ? ` [${score.low.toFixed(2)}, ${score.high.toFixed(2)}]` : '';
        context.print(`${metric.name}|${score.signature} = ${value}${interval}`);
      }
    });
}

/** The metric room numbers segments; here they are lines of files. */
function namingFiles<T>(
  kind: new (message: string, options: { cause: unknown }) => Error,
  files: string,
  action: () => T,
): T {
  try {
    return action();
  } catch (cause) {
    throw cause instanceof kind ? new kind(`${files}: ${cause.message}`, { cause }) : cause;
  }
}
