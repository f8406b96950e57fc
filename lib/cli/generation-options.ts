/** How tokens are chosen, on the command line. */
import { Option, type Command } from 'commander';
import type { GenerationConfig } from '../qwen2-audio';
import {
  anyNumber,
  positiveInteger,
  positiveNumber,
  probability,
  seed,
  UsageError,
  wholeNumber,
} from './arguments';

/** The options as commander gives them. */
export interface GenerationFlags {
  beams?: number;
  lengthPenalty?: number;
  sample?: boolean;
  temperature?: number;
  topP?: number;
  topK?: number;
  seed?: number;
  repetitionPenalty?: number;
}

export function addGenerationOptions(command: Command): Command {
  return command
    .option(
      '--beams <n>',
      'beam search with so many hypotheses; greedy unless given',
      positiveInteger,
    )
    .option(
      '--length-penalty <x>',
      'of beams: above 1 favours long texts, below 1 short',
      anyNumber,
    )
    .addOption(
      new Option('--sample', "draw tokens at random, as the checkpoint's settings say").conflicts(
        'beams',
      ),
    )
    .option('--temperature <x>', 'of samples: below 1 the likely becomes likelier', positiveNumber)
    .option(
      '--top-p <p>',
      'of samples: only the most likely, together of this probability',
      probability,
    )
    .option('--top-k <n>', 'of samples: only the n most likely; 0 for all', wholeNumber)
    .option('--seed <n>', 'of samples: another one for other texts; 0 unless given', seed)
    .option('--repetition-penalty <x>', 'above 1 makes repetitions less likely', positiveNumber);
}

/** @throws UsageError for options that would have no effect */
export function generationConfig(flags: GenerationFlags): GenerationConfig {
  const { beams, sample, lengthPenalty, repetitionPenalty } = flags;
  const { temperature, topP, topK, seed: seedGiven } = flags;
  if (lengthPenalty !== undefined && (beams ?? 1) === 1) {
    throw new UsageError('--length-penalty has no effect without beams; add --beams 4');
  }
  for (const [flag, value] of Object.entries({
    ...{ '--temperature': temperature, '--top-p': topP, '--top-k': topK, '--seed': seedGiven },
  })) {
    if (value === undefined || sample) continue;
    throw new UsageError(`${flag} has no effect without sampling; add --sample`);
  }
  return {
    ...{ numBeams: beams, doSample: sample, lengthPenalty, repetitionPenalty },
    ...{ temperature, topP, topK, seed: seedGiven },
  };
}
