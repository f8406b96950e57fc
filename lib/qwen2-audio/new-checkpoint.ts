/** A checkpoint folder that comes into being whole or not at all. Needs no addon. */
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { PareError } from '../errors';
import {
  fileError,
  FileError,
  makeFolder,
  syncFolder,
  temporaryName,
  writeFileAtomic,
} from '../files';
import { configJson, type Qwen2AudioConfig } from './config';
import { CheckpointError } from './folder';
import { shardIndex, type Shard, type TensorToWrite } from './shards';

export class NewCheckpoint {
  /** Where its files are written until it is complete. */
  readonly temporary: string;

  /** @throws CheckpointError if the folder exists, FileError if it cannot be made */
  constructor(readonly dir: string) {
    if (existsSync(dir)) throw new CheckpointError(`${dir} exists already; choose another folder`);
    this.temporary = temporaryName(dir);
    try {
      makeFolder(this.temporary);
    } catch (error) {
      throw this.abandon(error);
    }
  }

  path(file: string): string {
    return join(this.temporary, file);
  }

  /**
   * Writes config.json and generation_config.json of a model of `numHiddenLayers` decoder layers.
   * @param more.quantization its quantization_config, if it has 4-bit layers
   * @param more.languages as of `configJson`
   */
  writeConfig(
    config: Qwen2AudioConfig,
    numHiddenLayers: number,
    dtype: string,
    more: { quantization?: Record<string, unknown>; languages?: readonly string[] } = {},
  ): void {
    const { quantization, languages } = more;
    const whole = configJson(config, numHiddenLayers, dtype, languages);
    const { quantization_config: _, ...json } = whole;
    if (quantization !== undefined) json.quantization_config = quantization;
    this.writeJson('config.json', json);
    this.writeJson('generation_config.json', {
      do_sample: false,
      eos_token_id: config.eosTokenIds,
      pad_token_id: config.padTokenId,
    });
  }

  /** Writes the index of several files. */
  writeIndex(shards: readonly Shard<TensorToWrite>[], totalSize: number): void {
    if (shards.length > 1) {
      this.writeJson('model.safetensors.index.json', shardIndex(shards, totalSize));
    }
  }

  /** Gives the folder its name when all that is in it is on disk. */
  complete(): void {
    for (const file of readdirSync(this.temporary)) syncFile(this.path(file));
    syncFolder(this.temporary);
    renameSync(this.temporary, this.dir);
    syncFolder(dirname(this.dir));
  }

  /**
   * Removes what was written.
   * @returns the error to throw: of a file in the temporary folder it names the folder asked for
   */
  abandon(error: unknown): unknown {
    // Below a file there is nothing to remove, and rmSync would throw an error of its own.
    if (existsSync(this.temporary)) rmSync(this.temporary, { recursive: true, force: true });
    const own = error instanceof FileError && error.message.includes(this.temporary);
    if (error instanceof PareError && !own) return error;
    const cause = own ? error.cause : error;
    return isErrno(cause) ? fileError('write', this.dir, cause) : error;
  }

  writeJson(file: string, json: unknown): void {
    writeFileAtomic(this.path(file), `${JSON.stringify(json, null, 2)}\n`);
  }
}

function isErrno(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'syscall' in error;
}

function syncFile(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
