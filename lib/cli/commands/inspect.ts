import { Command } from 'commander';
import type { Accounting } from '../../qwen2-audio/accounting';
import { checkpointArgument, examples, revisionOption } from '../arguments';
import type { Context } from '../context';
import { streaming } from '../streaming';

interface Options {
  adapter?: string;
  revision?: string;
  json?: boolean;
}

export function inspectCommand(context: Context): Command {
  return new Command('inspect')
    .description('Say how large a checkpoint is and what it is made of; reads no weights.')
    .argument('<dir>', checkpointArgument)
    .addOption(revisionOption())
    .option('--adapter <dir>', 'count this adapter in; the one in DIR/adapter unless given')
    .option(
      '--json',
      'print {decoderLayers, encoderLayers, parameters, storedElements, bytes, quantization, …}',
    )
    .addHelpText(
      'after',
      examples(
        'pare inspect checkpoints/student',
        'pare inspect checkpoints/student --json',
        'pare inspect owner/name@main',
        'pare inspect base --adapter runs/qlora/adapter',
      ) +
        '\nParameters are weights as the arithmetic sees them; of stored elements two packed 4-bit\n' +
        'weights are one; bytes are those of all weight files on disk, an adapter included.\n',
    )
    .action(async (dir: string, { json, ...options }: Options) => {
      const { inspectCheckpoint } = await import('../../qwen2-audio/accounting');
      const accounting = await streaming(context, 'inspecting', ({ signal, env, onFetch }) =>
        inspectCheckpoint(dir, { ...options, signal, env, onFetch }),
      );
      if (json) context.print(JSON.stringify(accounting));
      else for (const line of table(accounting)) context.print(line);
    });
}

function table(accounting: Accounting): string[] {
  const number = new Intl.NumberFormat('en');
  const { adapter } = accounting;
  const rows: [string, string | number][] = [
    ['decoder layers', accounting.decoderLayers],
    ['encoder layers', accounting.encoderLayers],
    ['vocabulary', accounting.vocabulary],
    ['logical parameters', accounting.parameters],
    ['stored elements', accounting.storedElements],
    ['bytes on disk', accounting.bytes],
    ['bits per parameter', accounting.bitsPerParameter.toFixed(2)],
    ['stored as', accounting.storage],
  ];
  if (accounting.quantization !== null) {
    const twice = accounting.doubleQuantization ? ', absmax quantised too' : '';
    rows.push(['4-bit blocks', `${accounting.blockSize} weights${twice}`]);
  }
  if (adapter !== null) {
    const { r, loraAlpha, useRslora, parameters } = adapter;
    const kind = useRslora ? ', rank-stabilised' : '';
    rows.push(['adapter', `r ${r}, alpha ${loraAlpha}${kind}, ${number.format(parameters)}`]);
  }
  for (const { category, bytes } of accounting.bytesByCategory) {
    rows.push([`bytes: ${category}`, bytes]);
  }
  return rows.map(([name, value]) => {
    const text = typeof value === 'number' ? number.format(value) : value;
    return `${name.padEnd(26)}${text}`;
  });
}
