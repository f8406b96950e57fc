/** Further corpora that the student is trained on beside the recipe's own. */
import { resolve } from 'node:path';
import { CorpusError, openCorpus, seededRandom, type Corpus, type Utterance } from '../data';
import type { Recipe } from './recipe-schema';

export interface ExtraCorpora {
  /** Their ids bear the corpus' name, their sounds' paths are absolute. */
  utterances: Utterance[];
  /** One line a corpus, for the report. */
  parts: { name: string; segments: number; leftOut: number }[];
}

/**
 * Reads what `distill.extra` names. Utterances whose sentence is in one of `held` are left out and
 * counted: nothing that is reported or chosen by may be trained on.
 * @throws CorpusError for a corpus without the languages or with nothing to train on
 */
export function readExtraCorpora(
  { distill, languages, seed }: Recipe,
  held: readonly (readonly Utterance[])[],
): ExtraCorpora | undefined {
  if (distill?.extra === undefined) return undefined;
  const sentences = new Set(held.flat().map(({ text }) => sentenceOf(text)));
  const result: ExtraCorpora = { utterances: [], parts: [] };
  for (const [i, { path, split, limit }] of distill.extra.entries()) {
    const corpus = openCorpus(path);
    checkLanguages(corpus, languages);
    const all = corpus.read(split);
    const open = all.filter(({ text }) => !sentences.has(sentenceOf(text)));
    if (open.length === 0) {
      throw new CorpusError(
        `${path}: the split '${split}' has no sentence that dev and test do not have; ` +
          'name another in distill.extra',
      );
    }
    const drawn = seededRandom(`extra ${seed} ${i}`).shuffled(open).slice(0, limit);
    const name = `${corpus.description.name}-${i + 1}`;
    result.utterances.push(...drawn.map((utterance) => renamed(utterance, name, corpus)));
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

function renamed(utterance: Utterance, name: string, corpus: Corpus): Utterance {
  return {
    ...utterance,
    id: `${name}/${utterance.id}`,
    audio: resolve(corpus.audioPath(utterance)),
  };
}

/** A sentence without what differs from one transcriber to the other. */
function sentenceOf(text: string): string {
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim();
}

/** The recipe's corpus, which also finds the sounds of the further ones. */
export function withExtra(corpus: Corpus, extra: ExtraCorpora | undefined): Corpus {
  if (extra === undefined) return corpus;
  const others = new Set(extra.utterances);
  return {
    ...corpus,
    audioPath: (utterance) =>
      others.has(utterance) ? utterance.audio : corpus.audioPath(utterance),
  };
}
