import { Command, InvalidArgumentError } from 'commander';
import { blockSizes, type BlockSize } from '../../nf4/quant-state-json';
import {
  checkpointArgument,
  collect,
  dtypeOption,
  examples,
  revisionOption,
  type ComputeDType,
} from '../arguments';
import type { Context } from '../context';
import { printSize, streaming } from '../streaming';

interface Flags {
  blockSize?: BlockSize;
  doubleQuant: boolean;
  skip?: string[];
  lmHead?: boolean;
  embeddings?: boolean;
  dtype?: ComputeDType;
  revision?: string;
  json?: boolean;
}

export function quantizeCommand(context: Context): Command {
  return new Command('quantize')
    .description('Pack a checkpoint into 4 bits (NF4) and write it as a new one.')
    .argument('<dir>', `${checkpointArgument}, in full precision`)
    .argument('<output>', 'new folder; must not exist')
    .addOption(revisionOption())
    .option('--block-size <n>', 'weights that share an absmax; 64 unless given', blockSize)
    .option('--no-double-quant', 'leave the absmax in float32')
    .option(
      '--skip <names>',
      'linear layers that stay: o_proj,multi_modal_projector.linear',
      collect,
    )
    .option('--lm-head', 'pack lm_head, too')
    .option('--embeddings', 'pack the embeddings, too; transformers does not load them')
    .addOption(dtypeOption())
    .option('--json', 'print {output, decoderLayers, parameters, storedElements, bytes}')
    .addHelpText(
      'after',
      examples(
        'pare quantize checkpoints/7b checkpoints/7b-nf4',
        'pare quantize owner/name checkpoints/name-nf4',
        'pare quantize checkpoints/7b checkpoints/small --lm-head --embeddings --json',
      ) + '\nThe checkpoint goes through tensor by tensor; it is never held in memory.\n',
    )
    .action(async (dir: string, output: string, flags: Flags) => {
      const { quantizeCheckpoint } = await import('../../compress/quantize-checkpoint');
      const { json, ...options } = flags;
      const accounting = await streaming(context, 'quantising', (stream) =>
        quantizeCheckpoint(dir, output, { ...options, ...stream }),
      );
      printSize(context, json, { output }, accounting);
    });
}

function blockSize(text: string): BlockSize {
  const size = blockSizes.find((known) => String(known) === text);
  if (size !== undefined) return size;
  throw new InvalidArgumentError(`It must be one of ${blockSizes.join(', ')}.`);
}
