/** Pruning on disk: no weight is loaded, and neither the addon nor much memory is needed. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { account, type Accounting } from '../qwen2-audio/accounting';
import type { Qwen2AudioConfig } from '../qwen2-audio/config';
import { adapterOf, copyProcessor, readConfig, CheckpointError } from '../qwen2-audio/folder';
import { publicTensorName } from '../qwen2-audio/names';
import { NewCheckpoint } from '../qwen2-audio/new-checkpoint';
import { ReadAhead } from '../qwen2-audio/read-ahead';
import { resolveSource, type CheckpointSource } from '../qwen2-audio/resolve';
import { checkpointTensors, type CheckpointTensor } from '../qwen2-audio/weight-file';
import {
  writeTensors,
  type StreamedTensor,
  type StreamOptions,
} from '../qwen2-audio/write-checkpoint';
import { CompressionError } from './error';

/** Which layers may go, and how the files are written. */
export interface PruneOptions extends StreamOptions, CheckpointSource {
  /** Lets the first and the last layer go, which the method never removes. */
  allowEdges?: boolean;
}

export interface PrunedCheckpoint {
  /** Numbers of the layers that are left, in the old checkpoint's count. */
  kept: number[];
  /** Tensors that were read again and have the checksums of those they were copied from. */
  verified: number;
  accounting: Accounting;
}

/**
 * Removes decoder layers of a checkpoint and writes the rest as a new one, layers renumbered, under
 * the public checkpoint's names. Tensors are copied from file to file, 4-bit ones too, then read
 * again and compared by SHA-256. The tokenizer and processor files go along if there are any.
 * @param pathOrHubName a folder, or `owner/name[@revision]` on the Hugging Face hub
 * @param layers counted from 0
 * @throws CompressionError for layers that are not there or may not go, and for a checkpoint with an
 * adapter, whose layers would lose their numbers; CheckpointError if `output` exists, or the weights
 * are not those of config.json; HubError, FileError
 */
export async function pruneCheckpoint(
  pathOrHubName: string,
  layers: readonly number[],
  output: string,
  options: PruneOptions = {},
): Promise<PrunedCheckpoint> {
  if (existsSync(output)) {
    throw new CompressionError(`${output} exists already; choose another folder`);
  }
  const dir = await resolveSource(pathOrHubName, options);
  const config = readConfig(dir);
  const kept = keptLayers(dir, config.text.numHiddenLayers, layers, options.allowEdges ?? false);
  const adapter = adapterOf(dir);
  if (adapter !== undefined) {
    throw new CompressionError(
      `${dir} has an adapter (${adapter}), which belongs to all its layers; prune a checkpoint without one`,
    );
  }
  // Weights and config are of one checkpoint, or this says that they are not.
  const { dtype } = account(dir);
  const sums = new Map<string, string>();
  const tensors = [...checkpointTensors(dir).values()].flatMap((tensor) => {
    const name = renumbered(tensor.name, kept);
    return name === undefined ? [] : [copyOf(tensor, name, sums)];
  });
  const target = new NewCheckpoint(output);
  try {
    const quantization = quantizationOf(config, kept);
    target.writeConfig(config, kept.length, dtype, { quantization });
    copyProcessor(dir, target.temporary);
    // Half of the work is to read again what was written.
    const progress = (done: number, total: number): void => options.onProgress?.(done, 2 * total);
    await writeTensors(target, tensors, { ...options, onProgress: progress });
    await verify(target, sums, options);
    target.complete();
  } catch (error) {
    throw target.abandon(error);
  }
  return { kept, verified: sums.size, accounting: account(output) };
}

/** The public name after pruning; undefined for what goes. */
function renumbered(name: string, kept: readonly number[]): string | undefined {
  const match = /^(language_model\.model\.layers\.)(\d+)(\..*)?$/.exec(publicTensorName(name));
  if (match === null) return publicTensorName(name);
  const number = kept.indexOf(Number(match[2]));
  return number < 0 ? undefined : `${match[1]}${number}${match[3] ?? ''}`;
}

/** The modules that are not in 4 bits are told by name, of a layer too. */
function quantizationOf(
  config: Qwen2AudioConfig,
  kept: readonly number[],
): Record<string, unknown> | undefined {
  const quantization = config.raw.quantization_config as Record<string, unknown> | undefined;
  const skipped = quantization?.llm_int8_skip_modules;
  if (!Array.isArray(skipped)) return quantization;
  const left = skipped.flatMap((name) => renumbered(String(name), kept) ?? []);
  return { ...quantization, llm_int8_skip_modules: left };
}

/** The tensor under another name; what its bytes sum to is noted when they have passed. */
function copyOf(
  { dtype, shape, range }: CheckpointTensor,
  name: string,
  sums: Map<string, string>,
): StreamedTensor {
  return {
    name,
    dtype,
    shape,
    source: range,
    async *pieces(read) {
      const hash = createHash('sha256');
      for await (const piece of read(range)) {
        hash.update(piece);
        yield piece;
      }
      sums.set(name, hash.digest('hex'));
    },
  };
}

async function verify(
  target: NewCheckpoint,
  sums: ReadonlyMap<string, string>,
  { signal, onProgress }: StreamOptions,
): Promise<void> {
  const written = checkpointTensors(target.temporary);
  const ranges = Array.from(written.values(), ({ range }) => range);
  const total = ranges.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const reader = new ReadAhead(ranges);
  try {
    for (const [name, { range }] of written) {
      const hash = createHash('sha256');
      for await (const piece of reader.read(range)) {
        signal?.throwIfAborted();
        hash.update(piece);
        onProgress?.(total + (done += piece.byteLength), 2 * total);
      }
      if (sums.get(name) === hash.digest('hex')) continue;
      throw new CheckpointError(
        `${target.dir}: tensor ${name} is not what was written; check the disk and run it again`,
      );
    }
  } finally {
    await reader.close();
  }
}

function keptLayers(
  dir: string,
  count: number,
  layers: readonly number[],
  allowEdges: boolean,
): number[] {
  const range = `${dir} has decoder layers 0 to ${count - 1}`;
  const outside = layers.find((layer) => !Number.isInteger(layer) || layer < 0 || layer >= count);
  if (outside !== undefined) throw new CompressionError(`there is no layer ${outside}; ${range}`);
  const removed = new Set(layers);
  if (removed.size === 0) throw new CompressionError(`no layer to remove; ${range}`);
  if (removed.size === count) {
    throw new CompressionError(`all ${count} decoder layers would go; leave at least one`);
  }
  const edge = [0, count - 1].find((layer) => removed.has(layer));
  if (edge !== undefined && !allowEdges) {
    throw new CompressionError(
      `layer ${edge} is the ${edge === 0 ? 'first' : 'last'} one, which translation needs; ` +
        'leave it, or allow it (--allow-edges)',
    );
  }
  return Array.from({ length: count }, (_, i) => i).filter((i) => !removed.has(i));
}
