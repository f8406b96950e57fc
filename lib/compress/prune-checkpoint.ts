import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { account, type Accounting } from '../qwen2-audio/accounting';
import { adapterOf, readConfig } from '../qwen2-audio/folder';
import { loadModel, Processor, saveModel } from '../qwen2-audio';
import { CompressionError } from './error';

export interface PruneOptions {
  /** Lets the first and the last layer go, which the method never removes. */
  allowEdges?: boolean;
}

export interface PrunedCheckpoint {
  /** Numbers of the layers that are left, in the old checkpoint's count. */
  kept: number[];
  accounting: Accounting;
}

/**
 * Removes decoder layers of a checkpoint and writes the rest as a new one, layers renumbered. The
 * tokenizer and processor files go along if there are any.
 * @param layers counted from 0
 * @throws CompressionError for layers that are not there or may not go, and for a checkpoint with an
 * adapter, whose layers would lose their numbers; CheckpointError if `output` exists
 */
export function pruneCheckpoint(
  dir: string,
  layers: readonly number[],
  output: string,
  options: PruneOptions = {},
): PrunedCheckpoint {
  const count = readConfig(dir).text.numHiddenLayers;
  const kept = keptLayers(dir, count, layers, options.allowEdges ?? false);
  if (existsSync(output)) {
    throw new CompressionError(`${output} exists already; choose another folder`);
  }
  const adapter = adapterOf(dir);
  if (adapter !== undefined) {
    throw new CompressionError(
      `${dir} has an adapter (${adapter}), which belongs to all its layers; prune a checkpoint without one`,
    );
  }
  const model = loadModel(dir);
  try {
    const hasProcessor = existsSync(join(dir, 'tokenizer.json'));
    const processor = hasProcessor ? Processor.fromPretrained(dir, model.config) : undefined;
    saveModel(output, model.withLayers(kept), processor);
  } finally {
    model.dispose();
  }
  return { kept, accounting: account(output) };
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
