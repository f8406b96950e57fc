/** Option values that are checked before anything is loaded, and how help shows examples. */
import { InvalidArgumentError, Option } from 'commander';
import { PareError } from '../errors';
import { findLanguage } from '../text/languages';
import { isDeviceName } from '../torch/device';

/** The command line makes no sense: exit status 2. */
export class UsageError extends PareError {}

/** For commander: a whole number of at least 1. */
export function positiveInteger(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a whole number of at least 1.');
}

/** For commander: a number. */
export function anyNumber(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('It must be a number.');
}

/** For commander: a number above 0. */
export function positiveNumber(text: string): number {
  const value = anyNumber(text);
  if (value > 0) return value;
  throw new InvalidArgumentError('It must be a number above 0.');
}

/** For commander: a number of at least 0. */
export function nonNegativeNumber(text: string): number {
  const value = anyNumber(text);
  if (value >= 0) return value;
  throw new InvalidArgumentError('It must be a number of at least 0.');
}

/** For commander: a number from 0 to 100. */
export function percentage(text: string): number {
  const value = anyNumber(text);
  if (value >= 0 && value <= 100) return value;
  throw new InvalidArgumentError('It must be a number from 0 to 100.');
}

/** For commander: a number above 0 and at most 1. */
export function probability(text: string): number {
  const value = anyNumber(text);
  if (value > 0 && value <= 1) return value;
  throw new InvalidArgumentError('It must be a number above 0 and at most 1.');
}

/** For commander: a whole number of at least 0. */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('It must be a whole number of at least 0.');
}

/** For commander: what seeds a generator of random numbers. */
export function seed(text: string): number {
  const value = wholeNumber(text);
  if (value < 2 ** 32) return value;
  throw new InvalidArgumentError('It must be a whole number from 0 to 4294967295.');
}

/** For commander: `3,5,8-10` is [3, 5, 8, 9, 10]. */
export function layerList(text: string): number[] {
  const layers = text.split(',').flatMap((part) => {
    const match = /^\s*(\d+)(?:\s*-\s*(\d+))?\s*$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? first);
    if (match === null || last < first || last > 100_000) {
      throw new InvalidArgumentError(`'${part}' is neither a layer nor a range such as 8-10.`);
    }
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
  const twice = layers.find((layer, i) => layers.indexOf(layer) !== i);
  if (twice !== undefined) throw new InvalidArgumentError(`Layer ${twice} is there twice.`);
  return layers.sort((a, b) => a - b);
}

/** For commander: an option that can be given again, or with a list: `--to German,Chinese`. */
export function collect(text: string, previous: string[] = []): string[] {
  const items = text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  if (items.length === 0) throw new InvalidArgumentError('It must not be empty.');
  return [...previous, ...items];
}

/** For commander: an option that can be given again, each as it stands. */
export function repeated(text: string, previous: string[]): string[] {
  return [...previous, text];
}

/** For commander: a language by English name or two-letter code. */
export function language(text: string): string {
  if (findLanguage(text) !== undefined) return text;
  throw new InvalidArgumentError(
    'It must be the English name or two-letter code of a language, such as German or de.',
  );
}

const dtypes = ['float32', 'bfloat16', 'float16'] as const;
export type ComputeDType = (typeof dtypes)[number];

/** What a model's weights are converted to when it is loaded. */
export function dtypeOption(
  help: string = 'convert the weights that are not in 4 bits; as stored unless given',
): Option {
  return new Option('--dtype <name>', help).choices(dtypes);
}

/** What a command says of the checkpoint that it takes. */
export const checkpointArgument =
  'checkpoint folder, or owner/name[@revision] on the Hugging Face hub';

/** Of what `owner/name` stands for. */
export function revisionOption(): Option {
  return new Option('--revision <name>', 'branch, tag or commit on the hub; main unless given');
}

/** Where a model computes. */
export function deviceOption(): Option {
  const names = 'cpu, cuda or cuda:0; cpu unless given';
  return new Option('--device <name>', names).argParser((text) => {
    if (isDeviceName(text)) return text;
    throw new InvalidArgumentError('It must be cpu, cuda or cuda:0.');
  });
}

/** The end of a command's help. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n`;
}
