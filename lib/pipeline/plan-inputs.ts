/** What a plan is made from: the teacher's shape, and how long what it hears and says is. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openCorpus, type Corpus, type Utterance } from '../data';
import { named, PareError } from '../errors';
import { HubNotFoundError, parseHubName, type PlannedFetch } from '../hub';
import { parseConfig, planCheckpoint, readConfig } from '../qwen2-audio';
import { checkLayers } from './check-layers';
import { corpusSource } from './corpus-source';
import { readExtraCorpora } from './extra-corpora';
import { usualBytes } from './lessons';
import type { Shape } from './plan-memory';
import { RecipeError } from './recipe';
import type { Recipe } from './recipe-schema';

/** How long the audio and the texts are, as far as it is known. */
export interface Lengths {
  /** Seconds of the longest utterance of each split. */
  longest: number;
  utterances: number;
  /** Of the dev split, which a search keeps encoded. */
  devSeconds: number;
  devUtterances: number;
  /** Seconds of all audio that is kept in memory as features. */
  seconds: number;
}

/** Utterances of a split for which a plan is made where there is no corpus, and tokens of each text. */
const assumedUtterances = 100;
const assumedTokens = 60;

/** What a plan is made from; the same recipe with other settings needs no other. */
export interface PlanInputs {
  recipe: Recipe;
  shape: Shape;
  lengths: Lengths;
  /** Undefined where it is not there. */
  corpus?: Corpus;
  /** All test splits are one; where the corpus is not there, what is assumed. */
  splits: Record<'train' | 'dev' | 'test', Utterance[]>;
  /** Of the further corpora that the student is trained on. */
  extra: Utterance[];
  fetch?: PlannedFetch;
  assumed: string[];
  /** Where models compute. */
  device: string;
}

/**
 * Reads what a plan is made from.
 * @throws RecipeError, HubError, CompressionError for layers that cannot be removed, and ConfigError
 * for a checkpoint whose shape cannot be read
 */
export async function planInputs(
  file: string,
  recipe: Recipe,
  { env, device = 'cpu' }: { env?: NodeJS.ProcessEnv; device?: string } = {},
): Promise<PlanInputs> {
  const assumed: string[] = [];
  const { shape, fetch } = await shapeOf(file, recipe, env);
  try {
    checkLayers(recipe, shape.text.numHiddenLayers);
  } catch (error) {
    throw named(file, error);
  }
  const heard = await lengthsOf(recipe, shape, assumed);
  const extra = await extraOf(recipe, heard.splits, assumed);
  return { recipe, shape, ...heard, extra, fetch, assumed, device };
}

/**
 * The teacher's shape; of one on the hub, config.json is fetched.
 * @throws RecipeError, HubError, and ConfigError for a checkpoint whose shape cannot be read
 */
async function shapeOf(
  file: string,
  { teacher }: Recipe,
  env?: NodeJS.ProcessEnv,
): Promise<{ shape: Shape; fetch?: PlannedFetch }> {
  if (teacher.random !== undefined) {
    const { audio, text, vocabSize } = teacher.random;
    const shape = parseConfig({
      model_type: 'qwen2_audio',
      audio_token_index: 1, // No shape depends on it.
      audio_config: audio,
      text_config: { vocab_size: vocabSize, ...text },
    });
    return { shape };
  }
  const dir = teacher.checkpoint!;
  if (parseHubName(dir) !== undefined) {
    try {
      const { configDir, fetch } = await planCheckpoint(dir, { env });
      return { shape: readConfig(configDir), fetch };
    } catch (error) {
      throw named(`${file}: teacher.checkpoint`, error);
    }
  }
  if (!existsSync(join(dir, 'config.json'))) {
    throw new RecipeError(
      `${file}: teacher.checkpoint: ${dir} has no config.json, from which a plan is made`,
    );
  }
  return { shape: readConfig(dir) };
}

function splitNames({ train, dev, test }: Recipe['corpus']): string[] {
  return [train, dev, ...test];
}

/** Nothing is fetched for a plan. */
async function openIfThere(settings: Recipe['corpus']): Promise<Corpus | undefined> {
  const source = corpusSource(settings);
  const env = { ...process.env, HF_HUB_OFFLINE: '1' };
  if (source.path !== undefined && !existsSync(source.path)) return undefined;
  try {
    return await openCorpus(source, { env, splits: splitNames(settings) });
  } catch (error) {
    if (error instanceof HubNotFoundError) return undefined;
    throw error;
  }
}

function lengthOf(utterances: readonly Utterance[]): number {
  return utterances.reduce((sum, { seconds }) => sum + seconds, 0);
}

/** Lengths of the corpus, from its manifests; what is not known is told in `assumed`. */
async function lengthsOf(
  { corpus, languages }: Recipe,
  { audio, text: { vocabSize } }: Shape,
  assumed: string[],
): Promise<Pick<PlanInputs, 'lengths' | 'corpus' | 'splits'>> {
  const window = (2 * audio.maxSourcePositions) / 100;
  const opened = await openIfThere(corpus);
  if (opened === undefined) {
    const dir = corpus.hub ?? corpusSource(corpus).path;
    const none = { devSeconds: 0, devUtterances: 0, seconds: 0 };
    const lengths = { longest: window, utterances: 0, ...none };
    assumed.push(
      `${dir} is not there: utterances of ${window} s with ${assumedTokens} tokens each ` +
        `are planned for, ${assumedUtterances} a split for times, and no features in memory`,
    );
    const splitOf = (name: string): Utterance[] =>
      Array.from({ length: assumedUtterances }, (_, i) => {
        const text = '1'.repeat(usualBytes(vocabSize) * assumedTokens);
        const translations = Object.fromEntries(languages.map((language) => [language, text]));
        return { id: `${name} ${i}`, audio: '', seconds: window, text, translations };
      });
    return { lengths, splits: { train: splitOf('a'), dev: splitOf('b'), test: splitOf('c') } };
  }
  const splits: Utterance[][] = [];
  for (const name of splitNames(corpus)) splits.push(await opened.read(name));
  const [train, dev, ...tests] = splits as [Utterance[], Utterance[], ...Utterance[][]];
  const all = splits.flat();
  const lengths = {
    longest: Math.min(
      window,
      all.reduce((most, { seconds }) => Math.max(most, seconds), 0),
    ),
    utterances: train.length,
    devSeconds: lengthOf(dev),
    devUtterances: dev.length,
    seconds: lengthOf(all),
  };
  return { lengths, corpus: opened, splits: { train, dev, test: tests.flat() } };
}

/** What `distill.extra` names, as far as it is on this machine. */
async function extraOf(
  recipe: Recipe,
  { dev, test }: PlanInputs['splits'],
  assumed: string[],
): Promise<Utterance[]> {
  const named = recipe.distill?.extra;
  if (named === undefined) return [];
  try {
    // Nothing is fetched for a plan.
    if (named.every(({ path }) => path !== undefined && existsSync(path))) {
      return (await readExtraCorpora(recipe, [dev, test]))!.utterances;
    }
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
  }
  assumed.push('what distill.extra names is not there: the student is planned without it');
  return [];
}
