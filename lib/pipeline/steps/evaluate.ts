/** A checkpoint's translations of a split, scored: one step of the method by itself. */
import { evaluateModel, type Evaluation } from '../../compress';
import { SpeechTranslator, type TranslatorOptions } from '../../qwen2-audio/translator';
import { Features } from '../../train/examples';
import { progressOf } from '../context';
import { takeDevice } from '../device';
import { checkpointFolder, type HubSource } from './checkpoint';
import { openDataset, type DatasetOptions } from './dataset';

/** What {@link evaluateCheckpoint} translates, and how. */
export interface EvaluateOptions
  extends DatasetOptions, HubSource, Pick<TranslatorOptions, 'adapter' | 'dtype' | 'device'> {
  maxNewTokens: number;
  batchSize: number;
  /** Hears each language's evaluation as soon as it is there. */
  onEvaluation?: (evaluation: Evaluation) => void;
}

/**
 * Translates a split into each language and scores it by every metric, with 95 % bootstrap intervals.
 * @param pathOrHubName a folder, or `owner/name[@revision]` on the Hugging Face hub
 * @returns an evaluation for each language
 * @throws PareError of the room that failed
 */
export async function evaluateCheckpoint(
  pathOrHubName: string,
  options: EvaluateOptions,
): Promise<Evaluation[]> {
  await takeDevice(options);
  const { corpus, utterances, languages } = await openDataset(options);
  const { adapter, dtype, device, signal, maxNewTokens, batchSize, onEvaluation } = options;
  const dir = await checkpointFolder(pathOrHubName, options);
  const translator = await SpeechTranslator.load(dir, { adapter, dtype, device, signal });
  try {
    const onProgress = progressOf({ options }, 'reading speech');
    const features = new Features(corpus, translator.processor, { onProgress, signal });
    await features.lengths(utterances);
    const evaluations: Evaluation[] = [];
    for (const language of languages) {
      const onProgress = progressOf({ options }, `translating (${language})`);
      const run = { maxNewTokens, batchSize, signal, onProgress };
      const made = await evaluateModel(translator.model, features, utterances, [language], run);
      for (const evaluation of made) onEvaluation?.(evaluation);
      evaluations.push(...made);
    }
    return evaluations;
  } finally {
    translator.dispose();
  }
}
