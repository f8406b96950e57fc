/** A recipe with every stage that runs in seconds, over the corpus of tones. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';

type Json = Record<string, unknown>;

/** The settings as an object, to be changed by a test; paths are absolute. */
export interface TinyRecipe extends Json {
  name: string;
  output: string;
  corpus: Json;
  teacher: { random: { audio: Json; text: Json; vocabSize: number }; train: Json };
  generation: Json;
  importance: Json;
  heal: Json;
  quantize: Json;
  distill: Json;
  evaluate: Json;
}

/** The shape of the tiny teacher: one encoder layer, five decoder layers. */
export const tinyShape: TinyRecipe['teacher']['random'] = {
  vocabSize: 320,
  audio: {
    d_model: 32,
    encoder_layers: 1,
    encoder_attention_heads: 2,
    encoder_ffn_dim: 64,
    max_source_positions: 50, // 1 s
  },
  text: {
    hidden_size: 32,
    intermediate_size: 64,
    num_hidden_layers: 5,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    initializer_range: 0.08,
  },
};

export function tinyRecipe(corpus: string, output: string): TinyRecipe {
  const training = { batchSize: 8, microBatchSize: 4, maxGradNorm: 1, saveEvery: 2 };
  return {
    name: 'tiny',
    output,
    seed: 3,
    corpus: { path: corpus },
    languages: ['de', 'zh'],
    generation: { maxNewTokens: 12, batchSize: 4 },
    teacher: {
      random: structuredClone(tinyShape),
      train: { ...training, steps: 6, learningRate: 3e-3, specAugment: { timeMasks: 1 } },
    },
    importance: { remove: 2, criterion: { de: 'chrf++', zh: 'chrf' } },
    heal: { ...training, steps: 4, learningRate: 1e-3 },
    quantize: { blockSize: 64 },
    distill: {
      ...training,
      steps: 5,
      learningRate: 1e-3,
      lora: { r: 2, loraAlpha: 4, useRslora: true, loraDropout: 0.1 },
    },
    evaluate: { samples: 100, seed: 7 },
  };
}

/** Writes a recipe beside what it names. */
export function writeRecipe(dir: string, recipe: Json, name: string = 'tiny.yaml'): string {
  const path = join(dir, name);
  writeFileSync(path, stringify(recipe));
  return path;
}
