/** What a stage that trains learns, and how long each of it is. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { DistilledTargets } from '../compress';
import type { Utterance } from '../data';
import type { PlanInputs } from './plan-inputs';
import type { Recipe } from './recipe-schema';
import type { Clip } from './workload';

/**
 * Bytes of UTF-8 in a token of byte-level BPE, where no tokenizer is asked: a small vocabulary has
 * little beside the single bytes.
 */
export function usualBytes(vocabSize: number): number {
  return Math.min(3, Math.max(1, Math.log2(vocabSize / 160)));
}

export type Trained = 'teacher' | 'healed' | 'student';

type Count = (text: string, language?: string) => number;

function countByBytes(vocabSize: number): Count {
  const each = usualBytes(vocabSize);
  return (text) => Math.ceil(Buffer.byteLength(text) / each);
}

type Inputs = Pick<PlanInputs, 'recipe' | 'shape' | 'splits' | 'extra'>;

export function learntBy(name: Trained, { splits, extra }: Inputs): readonly Utterance[] {
  return name === 'student' ? [...splits.train, ...extra] : splits.train;
}

/** @param count tokens of a text in a language, or of a transcript; by its bytes unless given */
export function clipsOf(
  name: Trained,
  inputs: Inputs,
  count: Count = countByBytes(inputs.shape.text.vocabSize),
): Clip[] {
  const { recipe, shape, splits } = inputs;
  const share = newTexts(recipe);
  const learnsTexts = name === 'student' || (name === 'healed' && recipe.heal!.teacherTexts);
  const transcripts = name === 'teacher' ? (recipe.teacher.train!.transcribeRate ?? 0) : 0;
  return learntBy(name, inputs).map((utterance, i) =>
    clipOf(utterance, i, {
      ...{ window: 2 * shape.audio.maxSourcePositions, languages: recipe.languages },
      ...{ count, transcripts, again: learnsTexts && i < splits.train.length ? share : 0 },
    }),
  );
}

/**
 * The share of a teacher's translations that is learnt beside the references, duplicates and what is
 * broken being dropped: what the run folder has of them, or half.
 */
function newTexts({ output }: Recipe): number {
  try {
    const path = join(resolve(output), 'distilled', 'targets.json');
    const languages = Object.values(
      JSON.parse(readFileSync(path, 'utf8')) as Record<string, Pick<DistilledTargets, 'counts'>>,
    );
    const sum = (key: 'kept' | 'translated'): number =>
      languages.reduce((all, { counts }) => all + counts[key], 0);
    return sum('kept') / sum('translated');
  } catch {
    return 0.5;
  }
}

function clipOf(
  { seconds, text, translations }: Utterance,
  i: number,
  {
    window,
    languages,
    count,
    transcripts,
    again,
  }: {
    window: number;
    languages: readonly string[];
    count: Count;
    transcripts: number;
    again: number;
  },
): Clip {
  const counts = languages.map((language) => count(translations[language] ?? text, language));
  // Every so many have them, which is as good as drawing lots.
  const has = (share: number): boolean => Math.floor((i + 1) * share) > Math.floor(i * share);
  return {
    frames: Math.min(window, Math.ceil(seconds * 100)),
    targets: [...counts, ...(has(again) ? counts : []), ...(has(transcripts) ? [count(text)] : [])],
  };
}
