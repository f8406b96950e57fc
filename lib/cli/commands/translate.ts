import { Command, Option } from 'commander';
import type { RecordingRequest, TranslatedSegment } from '../../qwen2-audio/recordings';
import type { SpeechTranslator, TranslationRequest } from '../../qwen2-audio/translator';
import {
  checkpointArgument,
  type ComputeDType,
  deviceOption,
  dtypeOption,
  examples,
  language,
  positiveInteger,
  revisionOption,
  UsageError,
} from '../arguments';
import type { Context } from '../context';
import {
  addGenerationOptions,
  generationConfig,
  type GenerationFlags,
} from '../generation-options';
import { duration, Progress } from '../progress';
import { fetching } from '../streaming';
import { formatOption, TranslationOutput, type OutputOptions } from '../translation-output';

interface Options extends GenerationFlags, OutputOptions {
  model: string;
  revision?: string;
  to?: string;
  adapter?: string;
  dtype?: ComputeDType;
  quantize?: 'nf4';
  device?: string;
  instruction?: string;
  maxNewTokens: number;
  batchSize: number;
  stream?: boolean;
  json?: boolean;
}

export function translateCommand(context: Context): Command {
  const command = new Command('translate')
    .description(
      'Translate recordings of any length (wav, flac, mp3, ogg, opus, m4a, …) with a checkpoint.',
    )
    .argument('<file...>', 'sound files, at any rate and channel count')
    .requiredOption('--model <dir>', checkpointArgument)
    .addOption(revisionOption())
    .option('--to <language>', 'target language: German, Chinese, or a code', language)
    .option('--max-new-tokens <n>', 'tokens of a translation at most', positiveInteger, 128)
    .option('--batch-size <n>', 'files or segments decoded together', positiveInteger, 8)
    .option('--adapter <dir>', "adapter in PEFT's format; the model's own unless given")
    .addOption(dtypeOption())
    .addOption(
      new Option('--quantize <kind>', 'pack the linear layers into 4 bits at load').choices([
        'nf4',
      ]),
    )
    .addOption(deviceOption())
    .option('--instruction <text>', 'in place of "Translate the English speech into …:"')
    .addOption(
      new Option('--stream', 'print the text as it is made, one file after the other').conflicts([
        ...['json', 'beams', 'segments', 'format', 'output'],
      ]),
    )
    .option('--segments', 'with times: cut at pauses also what the model could take whole')
    .addOption(formatOption())
    .option('--output <path>', 'a file, or a folder for one file a recording')
    .addOption(
      new Option(
        '--json',
        '--format json: {file, text, tokenIds, seconds, …}, an object a line',
      ).conflicts('format'),
    );
  return addGenerationOptions(command)
    .addHelpText(
      'after',
      examples(
        'pare translate --model checkpoints/student --to German talk.wav',
        'pare translate --model checkpoints/student --to Chinese --json *.flac > out.jsonl',
        'pare translate --model checkpoints/student --to German *.mp3 --format srt --output subtitles/',
        'pare translate --model base --adapter runs/qlora/adapter --to German talk.mp3',
        'pare translate --model checkpoints/student --to German --beams 4 talk.wav',
        'pare translate --model checkpoints/student --to German --sample --top-p 0.9 talk.wav',
        'pare translate --model owner/name --quantize nf4 --to German --stream talk.wav',
      ) +
        '\nLonger recordings than the model takes are cut at pauses. With --segments, text is a line a\n' +
        'segment: start and end in seconds and what is said, between tabs; json has the segments.\n' +
        'Subtitles always have them. Where nobody speaks there is no text, and a note says so.\n' +
        '\nWithout --json, line n is the translation of the n-th file, empty where the file cannot\n' +
        'be translated. Such a file is named on standard error; the others are translated and the\n' +
        'exit status is 1.\n',
    )
    .action(async (files: string[], options: Options) => {
      const { to, instruction, maxNewTokens, batchSize, stream, json = false } = options;
      if (to === undefined && instruction === undefined) {
        throw new UsageError('the target language is missing; add --to German, or --instruction');
      }
      const format = json ? 'json' : options.format;
      const output = new TranslationOutput(context, files, { ...options, format });
      const request = { to, instruction, maxNewTokens, ...generationConfig(options) };
      const progress = new Progress(context.stderr, context.now);
      const translator = await load(context, progress, options);
      try {
        if (stream) {
          await streamAll(context, translator, files, request);
        } else {
          await translateAll(translator, files, output, progress, {
            ...{ ...request, batchSize },
            segments: options.segments === true || format === 'srt' || format === 'vtt',
          });
        }
      } finally {
        progress.stop();
        translator.dispose();
      }
    });
}

async function load(
  context: Context,
  progress: Progress,
  options: Options,
): Promise<SpeechTranslator> {
  const { SpeechTranslator } = await import('../../qwen2-audio/translator');
  const { model, adapter, dtype, quantize: quantization, device, revision } = options;
  try {
    return await SpeechTranslator.load(model, {
      ...{ adapter, dtype, quantization, device, revision, env: context.env },
      onProgress: fetching(progress),
      onWarning: ({ message }) => progress.around(() => context.note(`pare: ${message}`)),
    });
  } finally {
    progress.stop();
  }
}

/** Each file as soon as it is done; one that fails is named, and the others go on. */
async function translateAll(
  translator: SpeechTranslator,
  files: readonly string[],
  output: TranslationOutput,
  progress: Progress,
  request: RecordingRequest,
): Promise<void> {
  const { context } = output;
  let done = 0;
  const onProgress = (now: number): void =>
    progress.update('translating', (done = now), files.length);
  const onSegment = ({ end }: TranslatedSegment, index: number): void =>
    progress.update('translating', done, files.length, `${files[index]} at ${duration(end)}`);
  const outcomes = translator.translateRecordings(files, { ...request, onProgress, onSegment });
  for await (const { index, translation, error } of outcomes) {
    const file = files[index]!;
    progress.around(() => {
      if (translation === undefined) {
        context.fail(error);
        output.skip();
        return;
      }
      if (translation.silent) context.note(`pare: ${file}: nobody speaks; nothing is translated`);
      output.write(file, translation);
    });
  }
}

async function streamAll(
  context: Context,
  translator: SpeechTranslator,
  files: readonly string[],
  request: TranslationRequest,
): Promise<void> {
  for (const file of files) {
    try {
      for await (const piece of translator.stream(file, request))
        context.stdout.write(onLine(piece));
    } catch (error) {
      context.fail(error);
    }
    context.print('');
  }
}

/** A line a file, and nothing that moves a terminal's cursor. */
function onLine(text: string): string {
  return text.replace(/[\p{Cc}\s]+/gu, ' ');
}
