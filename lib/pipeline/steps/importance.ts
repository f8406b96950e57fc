/** The search for layers that a task does not need: one step of the method by itself. */
import {
  CompressionError,
  searchLayers,
  type Criterion,
  type ImportanceResult,
} from '../../compress';
import { checkWritable, writeFileAtomic } from '../../files';
import { Features } from '../../train/examples';
import { progressOf, type RunOptions } from '../context';
import { takeDevice } from '../device';
import { checkpointHash, openModel } from '../models';
import { hashOf } from '../run-folder';
import { checkpointFolder, type HubSource } from './checkpoint';
import { openDataset, type DatasetOptions } from './dataset';

/** Which layers are tried, on what, and how they are scored. */
export interface SearchOptions
  extends DatasetOptions, HubSource, Pick<RunOptions, 'onWarning' | 'device'> {
  /** Layers to remove. */
  remove: number;
  criterion: Criterion;
  protectedLayers?: readonly number[];
  maxNewTokens: number;
  batchSize: number;
}

/**
 * Searches a checkpoint's layers on a split that is not reported and writes the result as JSON. Each
 * candidate's score goes to a trace beside it, from which a search that was killed, or a longer one,
 * goes on.
 * @param pathOrHubName a folder, or `owner/name[@revision]` on the Hugging Face hub
 * @throws PareError of the room that failed
 */
export async function searchCheckpoint(
  pathOrHubName: string,
  output: string,
  options: SearchOptions,
): Promise<ImportanceResult> {
  if (typeof options.criterion !== 'string') {
    // The trace could not tell it from another one.
    throw new CompressionError(
      'searchCheckpoint: criterion: takes a name (chrf++, chrf, bleu, loss); for a function of your ' +
        'own call compress.searchLayers with a fingerprint that names it',
    );
  }
  await takeDevice(options);
  checkWritable(output);
  const { corpus, utterances, languages } = await openDataset(options);
  const { signal, onWarning, remove, criterion, protectedLayers = [] } = options;
  const { maxNewTokens, batchSize } = options;
  const dir = await checkpointFolder(pathOrHubName, options);
  using opened = openModel(dir, { device: options.device });
  const { model, processor } = opened;
  const onProgress = progressOf({ options }, 'reading audio');
  const features = new Features(corpus, processor, { onProgress, signal });
  const result = await searchLayers(model, features, utterances, languages, {
    ...{ remove, criterion, protectedLayers, maxNewTokens, batchSize },
    ...{ signal, onWarning },
    trace: `${output}.trace.jsonl`,
    fingerprint: hashOf([
      ...[checkpointHash(dir), corpus.description, utterances, languages],
      ...[criterion, protectedLayers, maxNewTokens, batchSize],
    ]),
    onProgress: progressOf({ options }, 'importance'),
  });
  writeFileAtomic(output, `${JSON.stringify(result)}\n`);
  return result;
}
