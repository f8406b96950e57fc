/** The files of a checkpoint folder. Needs no addon. */
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { PareError, shown } from '../errors';
import { fileError } from '../files';
import { parseConfig, type Qwen2AudioConfig } from './config';

/** A checkpoint folder that is incomplete or does not fit its config. */
export class CheckpointError extends PareError {}

type Json = Record<string, unknown>;

/** The subfolder of a checkpoint that holds its adapter, if it has one. */
export const adapterFolder = 'adapter';

/** What a checkpoint has for its processor, as far as it has them. */
const processorFiles = [
  'preprocessor_config.json',
  'processor_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.json',
  'merges.txt',
  'added_tokens.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'chat_template.json',
];

/** Copies the files of tokenizer and processor, as they are, into a folder that is there. */
export function copyProcessor(from: string, to: string): void {
  for (const file of processorFiles.filter((name) => existsSync(join(from, name)))) {
    try {
      copyFileSync(join(from, file), join(to, file));
    } catch (error) {
      throw fileError('write', join(to, file), error);
    }
  }
}

/** The object in a JSON file. */
export function readJson(path: string): Json {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('read', path, error);
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch (cause) {
    throw new CheckpointError(`${path} is not valid JSON; fetch it again`, { cause });
  }
  throw new CheckpointError(`${path} does not hold a JSON object; fetch it again`);
}

/** config.json and generation_config.json of a checkpoint folder. */
export function readConfig(dir: string): Qwen2AudioConfig {
  const path = join(dir, 'config.json');
  if (!existsSync(path)) {
    // A run keeps its checkpoints below its stages.
    const below = [join(dir, 'model'), join(dir, 'student', 'model')];
    const meant = below.find((folder) => existsSync(join(folder, 'config.json')));
    const what = meant === undefined ? 'give the folder of a checkpoint' : `give ${meant}`;
    throw new CheckpointError(`${dir} has no config.json; ${what}`);
  }
  const generation = join(dir, 'generation_config.json');
  return parseConfig(readJson(path), existsSync(generation) ? readJson(generation) : {}, path);
}

/** The safetensors files of a checkpoint: one, or the shards that its index names. */
export function checkpointFiles(dir: string): string[] {
  const single = join(dir, 'model.safetensors');
  if (existsSync(single)) return [single];
  const index = join(dir, 'model.safetensors.index.json');
  if (!existsSync(index)) {
    throw new CheckpointError(
      `${dir} has neither model.safetensors nor model.safetensors.index.json; fetch the weights`,
    );
  }
  const map = readJson(index).weight_map;
  if (typeof map !== 'object' || map === null || Object.keys(map).length === 0) {
    throw new CheckpointError(`${index} has no weight_map; fetch it again`);
  }
  const files = [...new Set(Object.values(map as Json).map((file) => shardName(index, file)))];
  files.sort();
  const missing = files.find((file) => !existsSync(join(dir, file)));
  if (missing !== undefined) {
    throw new CheckpointError(
      `${join(dir, missing)} is missing; the index names it, fetch it again`,
    );
  }
  return files.map((file) => join(dir, file));
}

/** A file beside the index: what is fetched from somewhere must not lead elsewhere. */
function shardName(index: string, file: unknown): string {
  if (typeof file === 'string' && file.endsWith('.safetensors') && basename(file) === file) {
    return file;
  }
  throw new CheckpointError(
    `${index} names ${shown(file)}, which is no safetensors file beside it; fetch it again`,
  );
}

/** Where a checkpoint's adapter is: the folder given, or its own subfolder if there is one. */
export function adapterOf(dir: string, given?: string): string | undefined {
  if (given !== undefined) return given;
  const own = join(dir, adapterFolder);
  return existsSync(join(own, 'adapter_config.json')) ? own : undefined;
}
