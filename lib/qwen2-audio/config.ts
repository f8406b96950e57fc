/**
 * The configuration of a Qwen2-Audio checkpoint: Hugging Face's config.json, both the public
 * form and that of transformers 5, with the defaults of `Qwen2AudioConfig` for absent keys.
 */
import { dirname, join } from 'node:path';
import { PareError, shown } from '../errors';
import { findLanguage } from '../text';
import { samplingDefaults, type SamplingDefaults } from './generation-config';

/** config.json cannot be used. */
export class ConfigError extends PareError {}

export interface AudioConfig {
  numMelBins: number;
  encoderLayers: number;
  encoderAttentionHeads: number;
  encoderFfnDim: number;
  dModel: number;
  /** Positions after the second convolution; the window is twice as many mel frames of 10 ms. */
  maxSourcePositions: number;
}

export interface TextConfig {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  numKeyValueHeads: number;
  headDim: number;
  rmsNormEps: number;
  ropeTheta: number;
  initializerRange: number;
}

/** What config.json and generation_config.json of a checkpoint say, checked. */
export interface Qwen2AudioConfig {
  audio: AudioConfig;
  text: TextConfig;
  /** The id of `<|AUDIO|>`. */
  audioTokenIndex: number;
  eosTokenIds: number[];
  padTokenId: number;
  /** What generation_config.json recommends for sampling; nothing of it is used unasked. */
  samplingDefaults: SamplingDefaults;
  /** Codes of the languages that it was trained to translate into, if it says so (`pare` entry). */
  targetLanguages?: string[];
  /** The file as it was read; unknown keys are written back. */
  raw: Record<string, unknown>;
}

type Json = Record<string, unknown>;

function section(raw: Json, key: string, where: string): Json {
  const value = raw[key];
  if (isObject(value)) return value;
  const what = value === undefined ? 'is missing' : 'must be an object';
  throw new ConfigError(`${where}: "${key}" ${what}; fetch the file again`);
}

/** Empty where it is absent or null. */
function optionalSection(raw: Json, key: string, where: string): Json {
  return (raw[key] ?? undefined) === undefined ? {} : section(raw, key, where);
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function positive(raw: Json, key: string, fallback: number, where: string): number {
  const value = raw[key] ?? fallback;
  if (typeof value === 'number' && value > 0 && Number.isFinite(value)) return value;
  throw new ConfigError(
    `${where}: "${key}" must be a positive number, not ${shown(value)}; fetch the file again`,
  );
}

function size(raw: Json, key: string, fallback: number, where: string): number {
  const value = positive(raw, key, fallback, where);
  if (Number.isSafeInteger(value)) return value;
  throw new ConfigError(
    `${where}: "${key}" must be a whole number, not ${value}; fetch the file again`,
  );
}

/** Only one value is implemented; another would be computed wrong in silence. */
function only(raw: Json, key: string, value: string | boolean, where: string): void {
  const given = raw[key] ?? value;
  if (given === value) return;
  throw new ConfigError(
    `${where}: "${key}" is ${shown(given)}; only ${JSON.stringify(value)} is supported`,
  );
}

/** One id or a list of them; none where the key is absent or null. */
function ids(raw: Json, key: string, where: string): number[] {
  const value = raw[key] ?? [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  // Some write -1 for none.
  const given = list.filter((id) => id !== -1);
  if (given.every(isId)) return given;
  throw new ConfigError(
    `${where}: "${key}" must be the id of a token or a list of ids, not ${shown(value)}; fetch the file again`,
  );
}

function isId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function divides(part: number, whole: number, what: string, where: string): void {
  if (whole % part === 0) return;
  throw new ConfigError(`${where}: ${what} (${whole} by ${part}); fetch the file again`);
}

/** Languages of `"pare": {"target_languages": [...]}`, which only `saveModel` of pare writes. */
function targetLanguages(raw: Json): string[] | undefined {
  const languages = isObject(raw.pare) ? raw.pare.target_languages : undefined;
  if (!Array.isArray(languages)) return undefined;
  const names = languages.filter((language) => typeof language === 'string');
  const codes = names.flatMap((name) => findLanguage(name)?.code ?? []);
  return codes.length > 0 ? codes : undefined;
}

/**
 * @param generation generation_config.json; its end-of-sequence ids are the ones, if it has any,
 * as in transformers
 * @param where the file's name, for errors
 * @throws ConfigError for another architecture, missing or impossible values
 */
export function parseConfig(
  raw: Json,
  generation: Json = {},
  where: string = 'config.json',
): Qwen2AudioConfig {
  if (raw.model_type !== 'qwen2_audio') {
    const type = shown(raw.model_type);
    throw new ConfigError(`${where}: model_type is ${type}; only "qwen2_audio" can be loaded`);
  }
  const a = section(raw, 'audio_config', where);
  const t = section(raw, 'text_config', where);
  const hiddenSize = size(t, 'hidden_size', 4096, where);
  const numAttentionHeads = size(t, 'num_attention_heads', 32, where);
  divides(numAttentionHeads, hiddenSize, 'hidden_size must divide into its heads', where);
  const rope = optionalSection(t, 'rope_parameters', where);
  only(rope, 'rope_type', 'default', where);
  // The form of transformers 4, null where the positions are plain.
  const scaling = optionalSection(t, 'rope_scaling', where);
  only({ rope_scaling: scaling.rope_type ?? scaling.type }, 'rope_scaling', 'default', where);
  only(t, 'use_sliding_window', false, where);
  only(t, 'hidden_act', 'silu', where);
  only(a, 'activation_function', 'gelu', where);
  const generationFile = join(dirname(where), 'generation_config.json');
  const idsOf = (key: string): number[][] => [
    ids(generation, key, generationFile),
    ids(t, key, where),
  ];
  const eos = [...idsOf('eos_token_id'), ids(raw, 'eos_token_id', where)];
  const eosTokenIds = [...new Set(eos.find(({ length }) => length > 0) ?? [151645, 151643])];
  const audio: AudioConfig = {
    numMelBins: size(a, 'num_mel_bins', 128, where),
    encoderLayers: size(a, 'encoder_layers', 32, where),
    encoderAttentionHeads: size(a, 'encoder_attention_heads', 20, where),
    encoderFfnDim: size(a, 'encoder_ffn_dim', 5120, where),
    dModel: size(a, 'd_model', 1280, where),
    maxSourcePositions: size(a, 'max_source_positions', 1500, where),
  };
  const text: TextConfig = {
    vocabSize: size(t, 'vocab_size', 151936, where),
    hiddenSize,
    intermediateSize: size(t, 'intermediate_size', 22016, where),
    numHiddenLayers: size(t, 'num_hidden_layers', 32, where),
    numAttentionHeads,
    numKeyValueHeads: size(t, 'num_key_value_heads', 32, where),
    headDim: size(t, 'head_dim', hiddenSize / numAttentionHeads, where),
    rmsNormEps: positive(t, 'rms_norm_eps', 1e-6, where),
    ropeTheta: positive({ ...t, ...rope }, 'rope_theta', 10000, where),
    initializerRange: positive(t, 'initializer_range', 0.02, where),
  };
  divides(audio.encoderAttentionHeads, audio.dModel, 'd_model must divide into its heads', where);
  divides(
    text.numKeyValueHeads,
    numAttentionHeads,
    'num_attention_heads must be a multiple of num_key_value_heads',
    where,
  );
  return {
    audio,
    text,
    audioTokenIndex: size(raw, 'audio_token_index', 151646, where),
    eosTokenIds,
    padTokenId: idsOf('pad_token_id').flat()[0] ?? eosTokenIds[0]!,
    samplingDefaults: samplingDefaults(generation),
    targetLanguages: targetLanguages(raw),
    raw,
  };
}

/**
 * config.json for a model of `numHiddenLayers` decoder layers: as read, with the layer count set,
 * `layer_types` cut and the embeddings' tying spelled out, so that it reloads anywhere.
 * @param languages that it was trained to translate into; those that are there by default
 */
export function configJson(
  config: Qwen2AudioConfig,
  numHiddenLayers: number,
  dtype: string,
  languages?: readonly string[],
): Json {
  const text = { ...(config.raw.text_config as Json) };
  text.num_hidden_layers = numHiddenLayers;
  text.layer_types = Array.from({ length: numHiddenLayers }, () => 'full_attention');
  text.tie_word_embeddings = false;
  return {
    ...config.raw,
    architectures: ['Qwen2AudioForConditionalGeneration'],
    text_config: text,
    tie_word_embeddings: false,
    dtype,
    torch_dtype: dtype,
    ...(languages && { pare: { ...(config.raw.pare as Json), target_languages: languages } }),
  };
}
