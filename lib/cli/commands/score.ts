import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { fileError } from '../../files';
import type { Metric, TokenizerName } from '../../metrics';
import { examples, UsageError } from '../arguments';
import type { Context } from '../context';

interface Options {
  metric: 'bleu' | 'chrf' | 'chrf++';
  tokenize?: TokenizerName;
  lowercase?: boolean;
  json?: boolean;
}

export function scoreCommand(context: Context): Command {
  return new Command('score')
    .description('Score translations against references, as sacreBLEU does.')
    .argument('<hyp>', 'translations, plain text, a segment a line')
    .argument('<ref>', 'references, in the same order')
    .addOption(
      new Option('-m, --metric <name>', 'metric')
        .choices(['bleu', 'chrf', 'chrf++'])
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--tokenize <name>', "BLEU's tokenizer; 13a unless given, zh for Chinese").choices(
        ['13a', 'zh', 'char', 'none'],
      ),
    )
    .option('--lowercase', 'compare without regard to case')
    .option('--json', 'print {metric, score, signature}')
    .addHelpText(
      'after',
      examples(
        'pare score hyp.de ref.de --metric bleu',
        'pare score hyp.zh ref.zh --metric bleu --tokenize zh --json',
        'pare score hyp.de ref.de --metric chrf++',
      ),
    )
    .action(async (hyp: string, ref: string, options: Options) => {
      const { metric: name, tokenize, lowercase = false } = options;
      if (name !== 'bleu' && tokenize !== undefined) {
        throw new UsageError(`--tokenize is an option of BLEU; ${name} has no tokenizer`);
      }
      const { corpusScore, createMetric, MetricError } = await import('../../metrics');
      const metric: Metric =
        name === 'bleu'
          ? createMetric('bleu', { tokenize, lowercase })
          : createMetric(name, { lowercase });
      const [hypotheses, references] = [readSegments(hyp), readSegments(ref)];
      const { score, signature } = namingFiles(MetricError, `${hyp} against ${ref}`, () =>
        corpusScore(metric, hypotheses, references),
      );
      if (options.json) context.print(JSON.stringify({ metric: name, score, signature }));
      else context.print(`${metric.name}|${signature} = ${score.toFixed(2)}`);
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

/** The lines of a text file; the newline at the end begins no further one. */
function readSegments(path: string): string[] {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const isText = code !== 'ERR_ENCODING_INVALID_ENCODED_DATA';
    throw fileError('read', path, isText ? error : 'it is not UTF-8; convert it');
  }
  if (text === '') return [];
  return text.replace(/\r?\n$/, '').split(/\r?\n/);
}
