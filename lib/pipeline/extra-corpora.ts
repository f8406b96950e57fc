/** Further corpora that the student is trained on beside the recipe's own. */
import {
  CorpusError,
  openCorpus,
  seededRandom,
  sentenceOf,
  type Corpus,
  type OpenOptions,
  type Utterance,
} from '../data';
import type { Recipe } from './recipe-schema';

export interface ExtraCorpora {
  /** Their ids bear the corpus' name. */
  utterances: Utterance[];
  /** Which corpus each is of. */
  corpusOf: Map<Utterance, Corpus>;
  /** One line a corpus, for the report. */
  parts: { name: string; segments: number; leftOut: number }[];
}

/**
 * Reads what `distill.extra` names. Utterances whose sentence is in one of `held` are left out and
 * counted: nothing that is reported or chosen by may be trained on.
 * @throws CorpusError for a corpus without the languages or with nothing to train on
 */
export async function readExtraCorpora(
  { distill, languages, seed }: Recipe,
  held: readonly (readonly Utterance[])[],
  options: Pick<OpenOptions, 'signal' | 'onProgress'> = {},
): Promise<ExtraCorpora | undefined> {
  if (distill?.extra === undefined) return undefined;
  const sentences = new Set(held.flat().map(({ text }) => sentenceOf(text)));
  const result: ExtraCorpora = { utterances: [], corpusOf: new Map(), parts: [] };
  for (const [i, { split, limit, ...source }] of distill.extra.entries()) {
    const corpus = await openCorpus(source, { ...options, splits: [split] });
    checkLanguages(corpus, languages);
    const all = await corpus.read(split, { signal: options.signal });
    const open = all.filter(({ text }) => !sentences.has(sentenceOf(text)));
    if (open.length === 0) {
      throw new CorpusError(
        `${corpus.dir}: the split '${split}' has no sentence that dev and test do not have; ` +
          'name another in distill.extra',
      );
    }
    const drawn = seededRandom(`extra ${seed} ${i}`).shuffled(open).slice(0, limit);
    const name = `${corpus.description.name}-${i + 1}`;
    for (const utterance of drawn) {
      const renamed = { ...utterance, id: `${name}/${utterance.id}` };
      result.utterances.push(renamed);
      result.corpusOf.set(renamed, corpus);
    }
    result.parts.push({
      name: `${corpus.description.name}, ${split}`,
      segments: drawn.length,
      leftOut: all.length - open.length,
    });
  }
  return result;
}

function checkLanguages({ dir, description }: Corpus, languages: readonly string[]): void {
  const { targets } = description.languages;
  const missing = languages.find((language) => !targets.includes(language));
  if (missing === undefined) return;
  throw new CorpusError(
    `distill.extra: ${dir} has no translations into ${missing}; it has ${targets.join(', ')}`,
  );
}

/** The recipe's corpus, which also finds the sounds of the further ones. */
export function withExtra(corpus: Corpus, extra: ExtraCorpora | undefined): Corpus {
  if (extra === undefined) return corpus;
  const of = (utterance: Utterance): Corpus => extra.corpusOf.get(utterance) ?? corpus;
  return {
    dir: corpus.dir,
    description: corpus.description,
    read: (split, options) => corpus.read(split, options),
    audio: (utterance) => of(utterance).audio(utterance),
    audioName: (utterance) => of(utterance).audioName(utterance),
    audioFiles: (utterances) => utterances.flatMap((one) => of(one).audioFiles([one])),
    // Two corpora may call their blocks the same.
    blockOf: (utterance) => {
      const block = of(utterance).blockOf(utterance);
      return block && `${of(utterance).dir}/${block}`;
    },
  };
}
