/** How metrics are chosen and set on a command line; names are those of sacreBLEU's. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { MetricName, MetricOptions } from '../metrics';
import { collect, UsageError } from './arguments';

const names = [
  ...['bleu', 'chrf', 'chrf++', 'ter', 'wer', 'cer', 'exact_match'],
] as readonly MetricName[];

export interface MetricFlags {
  metric?: MetricName[];
  tokenize?: '13a' | 'zh' | 'intl' | 'char' | 'none';
  lowercase?: boolean;
  terNormalized?: boolean;
  terNoPunct?: boolean;
  terAsianSupport?: boolean;
  terCaseSensitive?: boolean;
  normalizer?: 'none' | 'basic' | 'english';
}

/** For commander: names of metrics, by commas or the option repeated. */
function metricList(text: string, previous: MetricName[] | undefined): MetricName[] {
  const items = collect(text, previous);
  const unknown = items.find((item) => !names.includes(item as MetricName));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`'${unknown}' is none of ${names.join(', ')}.`);
  }
  return [...new Set(items)] as MetricName[];
}

/** `--metric` and what metrics can be told. */
export function addMetricOptions(command: Command, { required }: { required: boolean }): Command {
  const metric = new Option('-m, --metric <names>', `${names.join(', ')}; several by commas`);
  return command
    .addOption(metric.argParser(metricList).makeOptionMandatory(required))
    .addOption(
      new Option(
        '--tokenize <name>',
        "BLEU's tokenizer; 13a unless given, zh for Chinese, intl for other scripts",
      ).choices(['13a', 'zh', 'intl', 'char', 'none']),
    )
    .option('--lowercase', 'BLEU, chrF, exact match: compare without regard to case')
    .option('--ter-normalized', 'TER: set punctuation apart')
    .option('--ter-no-punct', 'TER: drop punctuation')
    .option('--ter-asian-support', 'TER: the same for Chinese and Japanese')
    .option('--ter-case-sensitive', 'TER: compare with regard to case')
    .addOption(
      new Option(
        '--normalizer <name>',
        "WER, CER: Whisper's normaliser, done to both sides",
      ).choices(['none', 'basic', 'english']),
    );
}

/** @throws UsageError for an option of a metric that is not asked for. */
export function metricOptionsOf(flags: MetricFlags, metrics: readonly MetricName[]): MetricOptions {
  const { lowercase, tokenize, normalizer } = flags;
  const given: readonly (readonly [unknown, string, readonly MetricName[]])[] = [
    [tokenize, '--tokenize', ['bleu']],
    [lowercase, '--lowercase', ['bleu', 'chrf', 'chrf++', 'exact_match']],
    [flags.terNormalized, '--ter-normalized', ['ter']],
    [flags.terNoPunct, '--ter-no-punct', ['ter']],
    [flags.terAsianSupport, '--ter-asian-support', ['ter']],
    [flags.terCaseSensitive, '--ter-case-sensitive', ['ter']],
    [normalizer, '--normalizer', ['wer', 'cer']],
  ];
  for (const [value, flag, owners] of given) {
    if (value === undefined || owners.some((name) => metrics.includes(name))) continue;
    throw new UsageError(
      `${flag} is an option of ${owners.join(', ')}, not of ${metrics.join(', ')}`,
    );
  }
  const ter = {
    normalized: flags.terNormalized,
    noPunct: flags.terNoPunct,
    asianSupport: flags.terAsianSupport,
    caseSensitive: flags.terCaseSensitive,
  };
  const [chrf, rate] = [{ lowercase }, { normalizer }];
  return {
    bleu: tokenize === undefined ? { lowercase } : { lowercase, tokenize },
    ...{ chrf, 'chrf++': chrf, ter, wer: rate, cer: rate, exact_match: { lowercase } },
  };
}
