/** A split of a corpus with the languages that a step of the method is asked for. */
import {
  CorpusError,
  openCorpus,
  type Corpus,
  type CorpusSource,
  type Utterance,
} from '../../data';
import { findLanguage, findTarget } from '../../text';
import { progressOf, type RunOptions } from '../context';

export interface DatasetOptions extends Pick<RunOptions, 'env' | 'signal' | 'onProgress'> {
  /** Corpus folder, a dataset's name on the hub, or what else `openCorpus` takes. */
  corpus: string | CorpusSource | Corpus;
  split: string;
  /** By code or English name; all of the corpus' targets unless given. */
  languages?: readonly string[];
  /** Utterances at most, from the beginning. */
  limit?: number;
}

export interface Dataset {
  corpus: Corpus;
  utterances: Utterance[];
  /** Codes. */
  languages: string[];
}

/** @throws CorpusError for a split that is empty or not there, and a language without references */
export async function openDataset(options: DatasetOptions): Promise<Dataset> {
  const { split, env, signal } = options;
  const tell = progressOf({ options }, 'fetching the corpus (MB)');
  const corpus = await openCorpus(options.corpus, {
    ...{ splits: [split], env, signal },
    onProgress: (done, total) => tell(Math.ceil(done / 1e6), Math.ceil(total / 1e6)),
  });
  const { targets } = corpus.description.languages;
  const languages = (options.languages ?? targets).map((asked) => {
    const code = findTarget(asked, targets);
    if (code !== undefined) return code;
    const names = targets.map((target) => findLanguage(target)?.name ?? target).join(', ');
    throw new CorpusError(
      `${corpus.dir} has no references in ${asked}; it has ${targets.join(', ')} (${names})`,
    );
  });
  const utterances = (await corpus.read(split, { signal })).slice(0, options.limit);
  if (utterances.length === 0) {
    throw new CorpusError(`${corpus.dir}: the split '${split}' has no utterance`);
  }
  return { corpus, utterances, languages: [...new Set(languages)] };
}
