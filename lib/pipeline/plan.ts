/** What each stage of a recipe will need, from shapes alone: nothing is loaded and nothing is run. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { candidateCount, checkRemoval, defaultPromptBytes, middleBlock } from '../compress';
import { openCorpus, type Corpus, type Utterance } from '../data';
import { named } from '../errors';
import { HubNotFoundError, parseHubName, type PlannedFetch } from '../hub';
import { parseConfig, planCheckpoint, readConfig } from '../qwen2-audio';
import { dtypeSize } from '../torch/dtype';
import { keptFeatures } from '../train/examples';
import { defaultKeep } from '../train/retention';
import { corpusSource } from './corpus-source';
import {
  decodingMemory,
  ModelCost,
  promptStateBytes,
  trainingMemory,
  type Memory,
  type Shape,
} from './plan-memory';
import { readRecipe, RecipeError, type Setting } from './recipe';
import type { Recipe, TrainingSettings } from './recipe-schema';

/** What a stage will need: memory, disk and work. */
export interface PlannedStage {
  name: string;
  /** Logical parameters of the model it works on. */
  parameters: number;
  /** Those that it trains; 0 where it does not train. */
  trained: number;
  /** Bytes at the peak, by what they are for. */
  memory: Memory;
  /** The sum of `memory`. */
  peak: number;
  /** Bytes that it leaves in the run folder. */
  disk: number;
  /** Bytes beside them while it runs: the checkpoints that a killed run goes on from. */
  workDisk: number;
  /** What is done how often: candidates, steps. */
  work?: string;
  /** What it took, where the run folder has it; nothing is guessed. */
  seconds?: number;
}

/** What a recipe will need, computed before anything runs. */
export interface Plan {
  stages: PlannedStage[];
  /** The highest of all stages. */
  peak: number;
  disk: number;
  /** What a run would fetch first, where the teacher is on the hub. */
  fetch?: PlannedFetch;
  /** What was taken for granted, for people. */
  assumed: string[];
}

/** How long the audio and the texts are, as far as it is known. */
interface Lengths {
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

/** Tokens of a prompt beside the audio: system, instruction and marks of the chat template. */
const promptTokens = 40;

/**
 * Plans a recipe, as it stands or with changes. Of a teacher on the hub its config.json is fetched.
 * @throws RecipeError, HubError, and ConfigError for a checkpoint whose shape cannot be read
 */
export async function planRecipe(
  file: string,
  options: { set?: readonly (string | Setting)[]; env?: NodeJS.ProcessEnv } = {},
): Promise<Plan> {
  const { recipe } = readRecipe(file, options.set);
  const assumed: string[] = [];
  const { shape, fetch } = await shapeOf(file, recipe, options.env);
  const lengths = await lengthsOf(recipe, shape, assumed);
  const planner = new Planner(recipe, shape, lengths);
  const stages = planner.stages().map((stage) => ({
    ...stage,
    seconds: secondsOf(join(resolve(recipe.output), stage.name, 'stage.json')),
  }));
  const peak = Math.max(...stages.map((stage) => stage.peak));
  const kept = stages.reduce((sum, { disk }) => sum + disk, 0);
  const work = Math.max(...stages.map(({ workDisk }) => workDisk));
  return { stages, peak, disk: kept + work, ...(fetch?.files && { fetch }), assumed };
}

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

function secondsOf(path: string): number | undefined {
  try {
    return (JSON.parse(readFileSync(path, 'utf8')) as { seconds?: number }).seconds;
  } catch {
    return undefined;
  }
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

type Stage = Omit<PlannedStage, 'peak' | 'seconds'>;

class Planner {
  /** Features of all that is heard, as far as they are kept: float32, 100 frames a second. */
  readonly #features: number;

  constructor(
    readonly recipe: Recipe,
    readonly shape: Shape,
    readonly lengths: Lengths,
  ) {
    const all = lengths.seconds * 100 * shape.audio.numMelBins * 4;
    this.#features = Math.min(all, keptFeatures);
  }

  stages(): Omit<PlannedStage, 'seconds'>[] {
    return this.#chain().map((stage) => ({
      ...stage,
      peak: Object.values(stage.memory).reduce((sum, bytes) => sum + bytes, 0),
    }));
  }

  #chain(): Stage[] {
    const { teacher, importance, heal, quantize, distill } = this.recipe;
    const stages: Stage[] = [];
    let model = new ModelCost(this.shape);
    if (teacher.train !== undefined) {
      stages.push(this.#training('teacher', model, teacher.train, teacher.train.lora));
    }
    stages.push(this.#decoding('evaluation-teacher', model));
    if (distill !== undefined) stages.push(this.#decoding('distilled', model));
    if (importance !== undefined) {
      const { remove } = importance;
      const layers = this.shape.text.numHiddenLayers;
      if (importance.method === 'middle') middleBlock(layers, importance);
      else {
        const candidates = candidateCount(checkRemoval(layers, importance).length, remove);
        stages.push({ ...this.#search(model), work: `${candidates} candidates` });
      }
      const whole = model;
      model = model.withLayers(layers - remove);
      stages.push(this.#copying('pruned', whole, model));
      stages.push(this.#decoding('evaluation-pruned', model));
    }
    if (heal !== undefined) {
      stages.push(this.#training('healed', model, heal));
      stages.push(this.#decoding('evaluation-healed', model));
    }
    if (quantize !== undefined) {
      const whole = model;
      model = model.packed(quantize);
      stages.push(this.#copying('quantized', whole, model));
      stages.push(this.#decoding('evaluation-quantized', model));
    }
    if (distill !== undefined) {
      stages.push(this.#training('student', model, distill, distill.lora));
      stages.push(this.#decoding('evaluation-student', model));
    }
    return stages;
  }

  #training(
    name: string,
    model: ModelCost,
    settings: TrainingSettings,
    lora?: { r: number },
  ): Stage {
    const { microBatchSize, batchSize } = settings;
    const trained = lora === undefined ? model.parameters : model.loraParameters(lora.r);
    const { weights = 'float32' } = settings;
    const bytesOfMoments = settings.optimizer === 'adamw8bit' ? 2 : 8;
    const { longest, targetTokens, utterances } = this.lengths;
    const targets = this.recipe.languages.length;
    const rows = {
      clips: Math.min(microBatchSize ?? batchSize, utterances || Infinity),
      // An utterance's prompts and answers share a row; only the audio and the head of it are once.
      tokens: Math.ceil(longest * 25) + targets * (promptTokens / 2 + targetTokens) + promptTokens,
      targets: targets * targetTokens,
    };
    const memory = trainingMemory(model, rows, {
      ...{ trained, bytesOfMoments, lora: lora !== undefined, weights },
      ...{ accumulates: rows.clips < batchSize, bf16: settings.bf16 },
      checkpointing: settings.gradientCheckpointing,
    });
    const steps =
      settings.steps ?? Math.round(Math.ceil(utterances / batchSize) * (settings.epochs ?? 1));
    // One more than are kept while a new one is written.
    const checkpoints = Math.min(
      (settings.keep ?? defaultKeep) + 1,
      Math.max(1, Math.ceil(steps / settings.saveEvery)),
    );
    const onDisk = lora === undefined || !model.isPacked ? 0 : 2 * trained;
    return {
      name,
      parameters: model.parameters,
      trained,
      memory: { ...memory, features: this.#features },
      disk: model.bytesOnDisk + onDisk,
      workDisk:
        checkpoints * trained * ((lora === undefined ? dtypeSize[weights] : 4) + bytesOfMoments),
      ...(steps > 0 ? { work: `${steps} steps` } : {}),
    };
  }

  /** @param encoded audio tokens that are kept; those of eight batches unless given */
  #decoding(name: string, model: ModelCost, encoded?: number): Stage {
    const { generation } = this.recipe;
    const ahead = 8 * generation.batchSize * Math.ceil(this.lengths.longest * 25);
    const memory = decodingMemory(model, {
      rows: generation.batchSize,
      tokens: Math.ceil(this.lengths.longest * 25) + promptTokens,
      newTokens: generation.maxNewTokens,
      encoded: encoded ?? ahead,
    });
    const { parameters } = model;
    const more = { memory: { ...memory, features: this.#features }, disk: 0, workDisk: 0 };
    return { name, parameters, trained: 0, ...more };
  }

  #search(model: ModelCost): Stage {
    const { longest, devSeconds, devUtterances } = this.lengths;
    const search = this.#decoding('importance', model, devSeconds * 25);
    const tokens = devUtterances * (Math.ceil(longest * 25) + promptTokens);
    const shared = this.recipe.languages.length * promptStateBytes(model, tokens);
    const cache = search.memory.cache! + Math.min(defaultPromptBytes, shared);
    return { ...search, memory: { ...search.memory, cache } };
  }

  /** From file to file, or through a model that is as large. */
  #copying(name: string, from: ModelCost, to: ModelCost): Stage {
    const memory = {
      program: ModelCost.program,
      weights: name === 'pruned' ? from.bytesInMemory() : 0,
    };
    const { parameters, bytesOnDisk: disk } = to;
    return { name, parameters, trained: 0, memory, disk, workDisk: 0 };
  }
}
