import { Command, Option } from 'commander';
import type { OptimizerName, WeightDtype } from '../../train/optimizers';
import type { ScheduleName } from '../../train/schedule';
import { optimizerNames, weightDtypes } from '../../train/optimizers';
import { scheduleNames } from '../../train/schedule';
import {
  checkpointArgument,
  collect,
  deviceOption,
  examples,
  nonNegativeNumber,
  positiveInteger,
  positiveNumber,
  revisionOption,
  seed,
  UsageError,
  wholeNumber,
} from '../arguments';
import type { Context } from '../context';
import { columnsOption, corpusForms, corpusOf, type CorpusOptions } from '../corpus-options';
import { resumable } from '../interruption';
import { Progress } from '../progress';

interface Options extends CorpusOptions {
  output: string;
  revision?: string;
  split: string;
  to?: string[];
  limit?: number;
  teacherTexts?: string;
  epochs?: number;
  steps?: number;
  batchSize: number;
  microBatchSize?: number;
  learningRate: number;
  optimizer: OptimizerName;
  schedule: ScheduleName;
  warmupSteps: number;
  weightDecay: number;
  maxGradNorm: number;
  loraR?: number;
  loraAlpha?: number;
  loraTargets?: string[];
  rslora?: boolean;
  bf16?: boolean;
  weights?: WeightDtype;
  gradientCheckpointing?: boolean;
  packing?: boolean;
  device?: string;
  seed: number;
  saveEvery: number;
  tensorboard?: string;
  json?: boolean;
}

export function finetuneCommand(context: Context): Command {
  return new Command('finetune')
    .description('Train a checkpoint, or an adapter over it, on a corpus.')
    .argument('<dir>', `${checkpointArgument}; with --lora-r it may be in 4 bits`)
    .addOption(revisionOption())
    .requiredOption('--corpus <name>', corpusForms)
    .addOption(columnsOption())
    .requiredOption('--output <dir>', 'new folder; must not exist')
    .option('--split <name>', 'split to train on', 'train')
    .option('--to <language>', 'German, Chinese or a code; all targets unless given', collect)
    .option('--limit <n>', 'utterances at most, from the beginning', positiveInteger)
    .option('--teacher-texts <file>', 'what pare distill wrote, to learn beside the references')
    .option('--epochs <n>', 'passes over the split; 1 unless given', positiveNumber)
    .addOption(
      new Option('--steps <n>', 'in place of epochs')
        .argParser(positiveInteger)
        .conflicts(['epochs']),
    )
    .option('--batch-size <n>', 'utterances a step', positiveInteger, 8)
    .option('--micro-batch-size <n>', 'utterances in memory together', positiveInteger)
    .option('--learning-rate <x>', 'at its highest', positiveNumber, 1e-5)
    .addOption(
      new Option('--optimizer <name>', 'adamw8bit keeps its moments in 8 bits')
        .choices(optimizerNames)
        .default('adamw'),
    )
    .addOption(
      new Option('--schedule <name>', 'of the learning rate')
        .choices(scheduleNames)
        .default('cosine'),
    )
    .option('--warmup-steps <n>', 'steps in which the learning rate rises', wholeNumber, 0)
    .option('--weight-decay <x>', 'of matrices', nonNegativeNumber, 0)
    .option(
      '--max-grad-norm <x>',
      'gradients are scaled down to it; 0: never',
      nonNegativeNumber,
      1,
    )
    .option(
      '--lora-r <n>',
      'train an adapter of this rank in place of the weights',
      positiveInteger,
    )
    .option('--lora-alpha <x>', 'of the adapter; twice the rank unless given', positiveNumber)
    .option(
      '--lora-targets <names>',
      'linear layers it is on; all but lm_head unless given',
      collect,
    )
    .option('--rslora', 'scale by alpha / sqrt(r) in place of alpha / r')
    .option('--bf16', 'matrix products in bfloat16')
    .addOption(
      new Option('--weights <dtype>', 'held in; bfloat16: half the memory, stochastic rounding')
        .choices(weightDtypes)
        .default('float32'),
    )
    .option('--gradient-checkpointing', 'less memory, a third slower')
    .option('--packing', 'the decoder computes no padding')
    .addOption(deviceOption())
    .option('--seed <n>', 'of order, dropout and adapter', seed, 1)
    .option('--save-every <n>', 'steps between two states to go on from', positiveInteger, 100)
    .option('--tensorboard <dir>', "write TensorBoard's event files")
    .option('--json', 'print {output, kind, log}')
    .addHelpText(
      'after',
      examples(
        'pare finetune base --corpus corpora/talks --output teacher --epochs 3 --bf16',
        'pare finetune base --corpus corpora/talks --to German --output adapter --lora-r 64 --rslora',
        'pare finetune small --corpus corpora/talks --teacher-texts texts.json --output healed',
      ) +
        '\nWith --lora-r the output is an adapter in the format of PEFT: pare translate --adapter.\n' +
        'An interrupted training waits in OUTPUT.work; the same command goes on from there.\n',
    )
    .action(async (dir: string, options: Options) => {
      const { loraR: r, loraAlpha, loraTargets, rslora, output } = options;
      if (r === undefined && (loraAlpha ?? loraTargets ?? rslora) !== undefined) {
        throw new UsageError('there is no adapter without a rank; add --lora-r 64');
      }
      const lora = r === undefined ? undefined : loraOf(r, loraAlpha, loraTargets, rslora);
      const { epochs, steps, batchSize, microBatchSize, learningRate, optimizer } = options;
      const { schedule, warmupSteps, weightDecay, maxGradNorm, bf16 } = options;
      const { gradientCheckpointing, packing, seed, split, to, limit, weights } = options;
      const { teacherTexts, saveEvery, tensorboard, revision, device } = options;
      const { finetuneCheckpoint } = await import('../../pipeline');
      const progress = new Progress(context.stderr, context.now);
      const result = await resumable(context, progress, async (signal) =>
        finetuneCheckpoint(dir, output, {
          ...{
            corpus: await corpusOf(options),
            split,
            languages: to,
            limit,
            teacherTexts,
            saveEvery,
            tensorboard,
            signal,
            revision,
            device,
            env: context.env,
          },
          training: {
            ...{ epochs, steps, batchSize, microBatchSize, learningRate, optimizer, schedule },
            ...{ warmupSteps, weightDecay, maxGradNorm, lora, bf16, gradientCheckpointing, seed },
            ...{ weights, packing },
          },
          onWarning: progress.warn,
          onProgress: ({ label, done, total, note }) => progress.update(label, done, total, note),
        }),
      );
      if (result === undefined) return;
      if (options.json) context.print(JSON.stringify(result));
      else context.print(`${result.kind}: ${result.output}\nlog: ${result.log}`);
    });
}

function loraOf(
  r: number,
  loraAlpha: number = 2 * r,
  targets?: readonly string[],
  useRslora: boolean = false,
): { r: number; loraAlpha: number; useRslora: boolean; targetModules: string | string[] } {
  return { r, loraAlpha, useRslora, targetModules: targets ? [...targets] : 'all-linear' };
}
