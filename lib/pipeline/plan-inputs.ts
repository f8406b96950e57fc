/** What a plan is made from: the teacher's shape, and how long what it hears and says is. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openCorpus, type Corpus, type Utterance } from '../data';
import { named } from '../errors';
import { HubNotFoundError, parseHubName, type PlannedFetch } from '../hub';
import { parseConfig, planCheckpoint, readConfig } from '../qwen2-audio';
import { corpusSource } from './corpus-source';
import type { Shape } from './plan-memory';
import { RecipeError } from './recipe';
import type { Recipe } from './recipe-schema';

/** How long the audio and the texts are, as far as it is known. */
export interface Lengths {
  /** Seconds of the longest utterance of each split. */
  longest: number;
  targetTokens: number;
  utterances: number;
  /** Of the dev split, which a search keeps encoded. */
  devSeconds: number;
  devUtterances: number;
  /** Seconds of all audio that is kept in memory as features. */
  seconds: number;
}

/** What a plan is made from; the same recipe with other settings needs no other. */
export interface PlanInputs {
  recipe: Recipe;
  shape: Shape;
  lengths: Lengths;
  fetch?: PlannedFetch;
  assumed: string[];
}

/**
 * Reads what a plan is made from.
 * @throws RecipeError, HubError, and ConfigError for a checkpoint whose shape cannot be read
 */
export async function planInputs(
  file: string,
  recipe: Recipe,
  env?: NodeJS.ProcessEnv,
): Promise<PlanInputs> {
  const assumed: string[] = [];
  const { shape, fetch } = await shapeOf(file, recipe, env);
  const lengths = await lengthsOf(recipe, shape, assumed);
  return { recipe, shape, lengths, fetch, assumed };
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
  { audio }: Shape,
  assumed: string[],
): Promise<Lengths> {
  const window = (2 * audio.maxSourcePositions) / 100;
  const opened = await openIfThere(corpus);
  if (opened === undefined) {
    const dir = corpus.hub ?? corpusSource(corpus).path;
    const none = { devSeconds: 0, devUtterances: 0, seconds: 0 };
    const lengths = { longest: window, targetTokens: 60, utterances: 0, ...none };
    assumed.push(
      `${dir} is not there: utterances of ${window} s with ${lengths.targetTokens} tokens each ` +
        'are planned for, and no features in memory',
    );
    return lengths;
  }
  const splits: Utterance[][] = [];
  for (const name of splitNames(corpus)) splits.push(await opened.read(name));
  const all = splits.flat();
  const most = (of: (utterance: Utterance) => number): number => Math.max(...all.map(of));
  // Byte-level BPE: some three bytes a token.
  const bytes = most((u) =>
    Math.max(...languages.map((l) => Buffer.byteLength(u.translations[l]!))),
  );
  return {
    longest: Math.min(
      window,
      most(({ seconds }) => seconds),
    ),
    targetTokens: Math.ceil(bytes / 3),
    utterances: splits[0]!.length,
    devSeconds: lengthOf(splits[1]!),
    devUtterances: splits[1]!.length,
    seconds: lengthOf(all),
  };
}
