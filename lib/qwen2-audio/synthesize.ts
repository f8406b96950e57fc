/** Checkpoints of any size with random weights: the shape of one that cannot be had. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFeatureConfig } from '../audio';
import {
  qwen2AudioChatTemplate,
  qwen2AudioSpecialTokens,
  saveBpe,
  syntheticVocabulary,
  type BpeVocabulary,
} from '../text';
import { dtypeSize, ones, scope, type DType } from '../torch';
import { fillNormal } from '../torch/fill-normal';
import { account, type Accounting } from './accounting';
import { ConfigError, parseConfig, type Qwen2AudioConfig } from './config';
import { Qwen2Audio } from './model';
import { NewCheckpoint } from './new-checkpoint';
import { translationInstruction, translatorSystemPrompt } from './processor';
import { publicShapes } from './public-shapes';
import { pieceBytes } from './read-ahead';
import { bytesOf } from './shards';
import { writeTensors, type StreamedTensor, type StreamOptions } from './write-checkpoint';

/** What differs from the public shape, and how the weights are drawn and stored. */
export interface SynthesizeOptions extends StreamOptions {
  /** Numbers of config.json to change: `{ 'text_config.num_hidden_layers': 4 }`. */
  set?: Readonly<Record<string, number>>;
  /** 0 by default. */
  seed?: number;
  /** bfloat16 by default. */
  dtype?: Extract<DType, 'float32' | 'bfloat16' | 'float16'>;
}

/**
 * Writes a checkpoint of a shape by its name, with the public checkpoint's tensors and files. Its
 * weights are random, of a size that keeps activations near 1 at any depth; its tokenizer is a
 * byte-level BPE with Qwen2-Audio's special tokens at their ids, and padding tokens up to the size
 * of the vocabulary. The same arguments give the same bytes. Memory does not grow with the size.
 * @throws ConfigError for a shape or a key that is not known, or numbers that do not fit each other;
 * CheckpointError if `output` exists; FileError
 */
export async function synthesizeCheckpoint(
  shape: string,
  output: string,
  options: SynthesizeOptions = {},
): Promise<Accounting> {
  const { seed = 0, dtype = 'bfloat16' } = options;
  const config = configOf(shape, options.set ?? {});
  const vocabulary = vocabularyOf(config);
  const target = new NewCheckpoint(output);
  try {
    target.writeConfig(config, config.text.numHiddenLayers, dtype);
    const { maxSourcePositions, numMelBins: nMels } = config.audio;
    writeFeatureConfig(target.temporary, { nMels, windowSamples: 320 * maxSourcePositions });
    saveBpe(target.temporary, vocabulary);
    writeFileSync(join(target.temporary, 'chat_template.jinja'), qwen2AudioChatTemplate);
    await writeTensors(target, randomTensors(config, seed, dtype), options);
    target.complete();
  } catch (error) {
    throw target.abandon(error);
  }
  return account(output);
}

function configOf(shape: string, set: Readonly<Record<string, number>>): Qwen2AudioConfig {
  const known = publicShapes[shape];
  if (known === undefined) {
    const names = Object.keys(publicShapes).join(', ');
    throw new ConfigError(`no shape is called ${JSON.stringify(shape)}; known: ${names}`);
  }
  const raw = structuredClone(known);
  for (const [path, value] of Object.entries(set)) {
    const keys = path.split('.');
    const last = keys.pop()!;
    let at: unknown = raw;
    for (const key of keys) at = (at as Record<string, unknown> | undefined)?.[key];
    const section = at as Record<string, unknown> | undefined;
    if (typeof section?.[last] !== 'number') {
      throw new ConfigError(
        `${shape} has no number ${path}; give one such as text_config.num_hidden_layers`,
      );
    }
    section[last] = value;
  }
  const { eos_token_id: message, pad_token_id: text } = raw.text_config as Record<string, number>;
  return parseConfig(raw, { eos_token_id: [text, message], pad_token_id: text }, shape);
}

function vocabularyOf({ text, audioTokenIndex }: Qwen2AudioConfig): BpeVocabulary {
  const size = audioTokenIndex - qwen2AudioSpecialTokens.indexOf('<|AUDIO|>');
  const padding = text.vocabSize - size - qwen2AudioSpecialTokens.length;
  if (size < 256 || padding < 0) {
    throw new ConfigError(
      `a vocabulary of ${text.vocabSize} has no place for 256 bytes before and the special tokens ` +
        `around the id ${audioTokenIndex} (audio_token_index); change both`,
    );
  }
  const extra = Array.from({ length: padding }, (_, i) => `<|extra_${i}|>`);
  return syntheticVocabulary(texts, size, [...qwen2AudioSpecialTokens, ...extra]);
}

/** What the prompt consists of: its words are tokens, as in the public vocabulary. */
const texts = [
  `system\n${translatorSystemPrompt}`,
  'user\nAudio 1: \n',
  ...['German', 'Chinese', 'French', 'Spanish'].map(translationInstruction),
  'assistant\n',
];

/** The model's tensors; the values of each go on where those of the one before end. */
function randomTensors(config: Qwen2AudioConfig, seed: number, dtype: DType): StreamedTensor[] {
  // Memory that is never touched takes none.
  using model = new Qwen2Audio(config, { dtype });
  let first = 0;
  return Array.from(model.namedTensors(), ([name, { shape }]) => {
    const begin = first;
    first += bytesOf({ dtype, shape }) / dtypeSize[dtype];
    const pieces = isNorm(name)
      ? () => [scope(() => ones(shape, { dtype }).toBytes())]
      : () => randomPieces(shape, dtype, seed, begin, deviation(name, shape, config));
    return { name, dtype, shape, pieces };
  });
}

function* randomPieces(
  shape: readonly number[],
  dtype: DType,
  seed: number,
  first: number,
  deviation: number,
): Generator<Uint8Array, void> {
  const total = bytesOf({ dtype, shape });
  const size = Math.min(pieceBytes, total);
  // One is written while the other is filled.
  const buffers = [new Uint8Array(size), new Uint8Array(total > size ? size : 0)];
  for (let at = 0, i = 0; at < total; at += size, i++) {
    const piece = buffers[i % 2]!.subarray(0, Math.min(size, total - at));
    fillNormal(piece, dtype, { seed, first: first + at / dtypeSize[dtype], deviation });
    yield piece;
  }
}

function isNorm(name: string): boolean {
  return /norm\.weight$/.test(name);
}

/**
 * Each layer gives its input's size back, and adds to what it is added to the less the more layers
 * there are, as GPT-2 starts.
 */
function deviation(name: string, shape: readonly number[], config: Qwen2AudioConfig): number {
  if (name.endsWith('.bias') || name.endsWith('embed_positions.weight')) return 0.02;
  if (name.endsWith('embed_tokens.weight')) return 1;
  const inputs = shape.slice(1).reduce((product, size) => product * size, 1);
  const layers = name.startsWith('audio_tower.')
    ? config.audio.encoderLayers
    : config.text.numHiddenLayers;
  const adds = /\.(o_proj|down_proj|out_proj|fc2)\.weight$/.test(name);
  return (adds ? 1 / Math.sqrt(2 * layers) : 1) / Math.sqrt(inputs);
}
