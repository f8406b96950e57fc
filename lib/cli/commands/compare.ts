import { extname } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { ComparisonFormat } from '../../report';
import { collect, examples, positiveInteger, UsageError } from '../arguments';
import type { Context } from '../context';
import { addMetricOptions, type MetricFlags, metricOptionsOf } from '../metric-options';

interface Options extends MetricFlags {
  references?: string[];
  names?: string[];
  pairedAr?: boolean;
  samples?: number;
  trials?: number;
  seed?: number;
  alpha?: number;
  output?: string[];
  format?: ComparisonFormat;
  json?: boolean;
}

const extensions: Readonly<Record<string, ComparisonFormat>> = {
  '.tex': 'latex',
  '.md': 'markdown',
  '.json': 'json',
  '.txt': 'text',
};

export function compareCommand(context: Context): Command {
  const command = new Command('compare')
    .description('Compare systems with a baseline: scores, intervals, and whether they differ.')
    .argument(
      '<systems...>',
      'the baseline first: run folders, their evaluation folders, or what evaluate --json ' +
        'printed; with --references plain text',
    )
    .option('--references <files>', 'plain text, a segment a line; several by commas', collect)
    .option('--names <list>', 'what the systems are called, by commas; their paths', collect);
  return addMetricOptions(command, { required: false })
    .option('--paired-ar', 'approximate randomisation in place of the paired bootstrap')
    .option('--samples <n>', 'bootstrap resamples; 1000 unless given', positiveInteger)
    .option('--trials <n>', 'trials of --paired-ar; 10000 unless given', positiveInteger)
    .option('--seed <n>', "of both; sacreBLEU's 12345 unless given", wholeNumber)
    .option('--alpha <p>', 'p-values below it are marked; 0.05 unless given', levelOf)
    .option('--output <file>', 'write the table: .tex, .md, .json or .txt; repeatable', collect)
    .addOption(
      new Option('--format <name>', 'what is printed; text unless given').choices([
        ...['text', 'markdown', 'latex', 'json'],
      ]),
    )
    .option('--json', 'print the table as one array, as --format json')
    .addHelpText(
      'after',
      examples(
        'pare compare runs/demo/evaluation-teacher runs/demo',
        'pare compare teacher.jsonl student.jsonl --metric chrf++,ter --output table.tex',
        'pare compare a.de b.de c.de --references ref.de --paired-ar --names old,new,newest',
      ) +
        '\nA run folder stands for the model that the run hands over. p-values are those of\n' +
        'sacreBLEU for the same test, resamples and seed.\n',
    )
    .action(async (systems: string[], options: Options) => {
      const { metric, samples, seed, alpha, references, names } = options;
      if (systems.length < 2) {
        throw new UsageError('a comparison needs two systems or more, the baseline first');
      }
      if (names !== undefined && names.length !== systems.length) {
        throw new UsageError(
          `--names: give ${systems.length}, one a system; here are ${names.length}`,
        );
      }
      if (options.trials !== undefined && !options.pairedAr) {
        throw new UsageError(
          '--trials is an option of --paired-ar; for the bootstrap say --samples',
        );
      }
      const outputs = (options.output ?? []).map((path) => ({ path, format: formatOf(path) }));
      const { metricKeys } = await import('../../compress/metric-keys');
      const metrics = metric ?? metricKeys;
      const metricOptions = metricOptionsOf(options, metrics);
      const { compareEvaluations } = await import('../../compress/compare');
      const { renderComparison } = await import('../../report');
      const { writeFileAtomic } = await import('../../files');
      const { tables, leftOut } = compareEvaluations(systems, {
        ...{ metrics, metricOptions, references, names, samples, seed, alpha },
        test: options.pairedAr ? 'approximate-randomization' : 'bootstrap',
        trials: options.trials,
      });
      for (const { path, format } of outputs)
        writeFileAtomic(path, renderComparison(tables, format));
      const format = options.json ? 'json' : (options.format ?? 'text');
      context.print(renderComparison(tables, format).trimEnd());
      for (const { testSet, language, missing } of leftOut) {
        context.note(`left out: ${testSet} in ${language}, which ${missing.join(', ')} lacks`);
      }
    });
}

function formatOf(path: string): ComparisonFormat {
  const format = extensions[extname(path).toLowerCase()];
  if (format !== undefined) return format;
  const known = Object.keys(extensions).join(', ');
  throw new UsageError(`--output ${path}: the ending tells the format; give one of ${known}`);
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('It must be a whole number.');
}

function levelOf(text: string): number {
  const value = Number(text);
  if (value > 0 && value < 1) return value;
  throw new InvalidArgumentError('It must lie between 0 and 1.');
}
