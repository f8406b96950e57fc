/** The thread of a {@link WorkerTranslator}. */
import { parentPort } from 'node:worker_threads';
import { setNumThreads } from '../torch';
import { serve } from '../worker';
import type { TranslatorOptions } from './translation';
import { SpeechTranslator } from './translator';

serve(parentPort!, (numThreads: number, pathOrHubName: string, options: TranslatorOptions) => {
  setNumThreads(numThreads);
  return SpeechTranslator.load(pathOrHubName, options);
});
