import { Command, InvalidArgumentError } from 'commander';
import { publicShapes } from '../../qwen2-audio/public-shapes';
import { dtypeOption, examples, type ComputeDType } from '../arguments';
import type { Context } from '../context';
import { printSize, streaming } from '../streaming';

interface Flags {
  shape: string;
  set: Record<string, number>;
  seed: number;
  dtype: ComputeDType;
  json?: boolean;
}

export function synthCommand(context: Context): Command {
  return new Command('synth')
    .description('Write a checkpoint of a known shape with random weights, to measure with.')
    .argument('<output>', 'new folder; must not exist')
    .requiredOption('--shape <name>', `one of ${Object.keys(publicShapes).join(', ')}`)
    .option(
      '--set <key=number>',
      'change a number of its config.json, such as text_config.num_hidden_layers=4; repeatable',
      setting,
      {},
    )
    .option('--seed <n>', 'another seed, other weights', seed, 0)
    .addOption(dtypeOption('of the weights').default('bfloat16'))
    .option('--json', 'print {output, shape, decoderLayers, parameters, storedElements, bytes}')
    .addHelpText(
      'after',
      examples(
        'pare synth checkpoints/7b --shape qwen2-audio-7b',
        'pare synth checkpoints/shallow --shape qwen2-audio-7b --set text_config.num_hidden_layers=4',
        'pare synth checkpoints/tiny --shape qwen2-audio-tiny --seed 3 --json',
      ) +
        '\nNames, shapes, dtypes and files are those of the public checkpoint; what it says is noise.\n',
    )
    .action(async (output: string, flags: Flags) => {
      const { synthesizeCheckpoint } = await import('../../qwen2-audio/synthesize');
      const { shape, json, ...options } = flags;
      const accounting = await streaming(context, 'writing', (stream) =>
        synthesizeCheckpoint(shape, output, { ...options, ...stream }),
      );
      printSize(context, json, { output, shape }, accounting);
    });
}

function setting(text: string, before: Record<string, number>): Record<string, number> {
  const [, key, value] = /^([^=]+)=(\d+(?:\.\d+)?(?:e-?\d+)?)$/.exec(text) ?? [];
  if (key !== undefined) return { ...before, [key]: Number(value) };
  throw new InvalidArgumentError('It must be a key and a number, as a.b=4.');
}

function seed(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number of at most 15 digits.');
}
