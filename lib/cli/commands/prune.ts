import { Command } from 'commander';
import { checkpointArgument, examples, layerList, revisionOption } from '../arguments';
import type { Context } from '../context';
import { printSize, streaming } from '../streaming';

interface Options {
  layers: number[];
  output: string;
  allowEdges?: boolean;
  revision?: string;
  json?: boolean;
}

export function pruneCommand(context: Context): Command {
  return new Command('prune')
    .description('Remove decoder layers from a checkpoint and write what is left as a new one.')
    .argument('<dir>', checkpointArgument)
    .addOption(revisionOption())
    .requiredOption('--layers <list>', 'layers to remove, counted from 0: 3,5,8-10', layerList)
    .requiredOption('--output <dir>', 'new folder; must not exist')
    .option('--allow-edges', 'let the first and the last layer be removed, too')
    .option(
      '--json',
      'print {output, removed, verified, decoderLayers, parameters, storedElements, bytes}',
    )
    .addHelpText(
      'after',
      examples(
        'pare prune checkpoints/teacher --layers 14,16-18 --output checkpoints/pruned',
        'pare prune checkpoints/teacher --layers 20-23 --output checkpoints/pruned --json',
      ) + '\nTensors are copied from file to file, in bfloat16 or NF4, in little memory.\n',
    )
    .action(async (dir: string, flags: Options) => {
      const { pruneCheckpoint } = await import('../../compress/prune-checkpoint');
      const { layers, output, allowEdges, revision } = flags;
      const { accounting, verified } = await streaming(context, 'pruning', (options) =>
        pruneCheckpoint(dir, layers, output, { ...options, allowEdges, revision }),
      );
      const about = { output, removed: layers, verified };
      printSize(
        context,
        flags.json,
        about,
        accounting,
        `; ${verified} tensors copied and compared`,
      );
    });
}
