import { Command } from 'commander';
import type { TranslationOutcome } from '../../qwen2-audio/translator';
import {
  type ComputeDType,
  dtypeOption,
  examples,
  language,
  positiveInteger,
  UsageError,
} from '../arguments';
import type { Context } from '../context';
import { Progress } from '../progress';

interface Options {
  model: string;
  to?: string;
  adapter?: string;
  dtype?: ComputeDType;
  instruction?: string;
  maxNewTokens: number;
  batchSize: number;
  json?: boolean;
}

export function translateCommand(context: Context): Command {
  return new Command('translate')
    .description('Translate speech in files (wav, flac, mp3, …) with a checkpoint.')
    .argument('<file...>', 'sound files, at any rate and channel count')
    .requiredOption('--model <dir>', 'checkpoint folder')
    .option('--to <language>', 'target language: German, Chinese, or a code', language)
    .option('--max-new-tokens <n>', 'tokens of a translation at most', positiveInteger, 128)
    .option('--batch-size <n>', 'files decoded together', positiveInteger, 8)
    .option('--adapter <dir>', "adapter in PEFT's format; the model's own unless given")
    .addOption(dtypeOption())
    .option('--instruction <text>', 'in place of "Translate the English speech into …:"')
    .option('--json', 'print {file, text, tokenIds, seconds}, an object a line')
    .addHelpText(
      'after',
      examples(
        'pare translate --model checkpoints/student --to German talk.wav',
        'pare translate --model checkpoints/student --to Chinese --json *.flac > out.jsonl',
        'pare translate --model base --adapter runs/qlora/adapter --to German talk.mp3',
      ) +
        '\nWithout --json, line n is the translation of the n-th file, empty where the file cannot\n' +
        'be translated. Such a file is named on standard error; the others are translated and the\n' +
        'exit status is 1.\n',
    )
    .action(async (files: string[], options: Options) => {
      const { SpeechTranslator } = await import('../../qwen2-audio/translator');
      const {
        model,
        to,
        adapter,
        dtype,
        instruction,
        maxNewTokens,
        batchSize,
        json = false,
      } = options;
      if (to === undefined && instruction === undefined) {
        throw new UsageError('the target language is missing; add --to German, or --instruction');
      }
      const translator = SpeechTranslator.load(model, { adapter, dtype });
      const progress = new Progress(context.stderr, context.now);
      try {
        const outcomes = translator.translateEach(files, {
          ...{ to, instruction, maxNewTokens, batchSize },
          onProgress: progress.labelled('translating'),
        });
        for await (const outcome of outcomes) {
          progress.around(() => show(context, files[outcome.index]!, outcome, json));
        }
      } finally {
        progress.stop();
        translator.dispose();
      }
    });
}

function show(context: Context, file: string, outcome: TranslationOutcome, json: boolean): void {
  const { translation } = outcome;
  if (translation === undefined) {
    context.fail(outcome.error);
    if (!json) context.print('');
    return;
  }
  const { text, tokenIds, seconds } = translation;
  if (json) context.print(JSON.stringify({ file, text, tokenIds, seconds }));
  // A line a file, and nothing that moves a terminal's cursor.
  else context.print(text.replace(/[\p{Cc}\s]+/gu, ' '));
}
