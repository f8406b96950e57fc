/**
 * Sequence-level knowledge distillation (Kim & Rush 2016): the teacher's own translations of the
 * training audio become targets beside the references.
 */
import type { Utterance } from '../data';
import { corpusScore, createMetric } from '../metrics';
import type { TrainingItem } from '../train/translation';
import type { TranslatedSplit } from './translate';

export interface DistillationFilter {
  /** Lowest sentence chrF against the reference; 0 keeps all. */
  minChrf?: number;
}

/** A teacher's translations that are worth training on, and how many were dropped why. */
export interface DistilledTargets {
  /** A text for each utterance, or undefined where none was worth keeping. */
  texts: (string | undefined)[];
  counts: {
    translated: number;
    /** Empty, or cut off at the limit of new tokens. */
    broken: number;
    /** Below `minChrf`. */
    tooFar: number;
    /** The same as the reference. */
    duplicates: number;
    kept: number;
  };
}

/** Drops translations that are broken, far from the reference, or nothing new. */
export function selectTargets(
  translated: TranslatedSplit,
  references: readonly string[],
  filter: DistillationFilter = {},
): DistilledTargets {
  const counts = {
    translated: references.length,
    broken: 0,
    tooFar: 0,
    duplicates: 0,
    kept: 0,
  };
  const chrf = createMetric('chrf', {});
  const minChrf = filter.minChrf ?? 0;
  const texts = translated.texts.map((text, i) => {
    const reference = references[i]!;
    if (text === '' || !translated.finished[i]) counts.broken++;
    else if (text === reference) counts.duplicates++;
    else if (minChrf > 0 && corpusScore(chrf, [text], [reference]).score < minChrf) counts.tooFar++;
    else {
      counts.kept++;
      return text;
    }
    return undefined;
  });
  return { texts, counts };
}

/** Utterances with their references and, per language, the teacher's text where there is one. */
export function trainingItems(
  utterances: readonly Utterance[],
  languages: readonly string[],
  distilled: Readonly<Record<string, readonly (string | undefined)[]>> = {},
): TrainingItem[] {
  return utterances.map((utterance, i) => ({
    utterance,
    targets: languages.flatMap((language) => {
      const texts = [utterance.translations[language], distilled[language]?.[i]];
      return texts.filter((text) => text !== undefined).map((text) => ({ task: language, text }));
    }),
  }));
}
