import { Command } from 'commander';
import { examples, layerList } from '../arguments';
import type { Context } from '../context';

interface Options {
  layers: number[];
  output: string;
  allowEdges?: boolean;
  json?: boolean;
}

export function pruneCommand(context: Context): Command {
  return new Command('prune')
    .description('Remove decoder layers from a checkpoint and write what is left as a new one.')
    .argument('<dir>', 'checkpoint folder')
    .requiredOption('--layers <list>', 'layers to remove, counted from 0: 3,5,8-10', layerList)
    .requiredOption('--output <dir>', 'new folder; must not exist')
    .option('--allow-edges', 'let the first and the last layer be removed, too')
    .option('--json', 'print {output, removed, decoderLayers, parameters, storedElements, bytes}')
    .addHelpText(
      'after',
      examples(
        'pare prune checkpoints/teacher --layers 14,16-18 --output checkpoints/pruned',
        'pare prune checkpoints/teacher --layers 20-23 --output checkpoints/pruned --json',
      ),
    )
    .action(async (dir: string, options: Options) => {
      const { pruneCheckpoint } = await import('../../compress/prune-checkpoint');
      const { layers, output, allowEdges } = options;
      const { accounting } = pruneCheckpoint(dir, layers, output, { allowEdges });
      const { decoderLayers, parameters, storedElements, bytes } = accounting;
      if (options.json) {
        const sizes = { decoderLayers, parameters, storedElements, bytes };
        context.print(JSON.stringify({ output, removed: layers, ...sizes }));
        return;
      }
      const number = new Intl.NumberFormat('en');
      context.print(
        `${output}: ${decoderLayers} decoder layers, ${number.format(parameters)} parameters, ` +
          `${number.format(bytes)} bytes`,
      );
    });
}
