/**
 * The model of the benchmarks: a text decoder of Qwen2-0.5B's shape behind an audio tower of
 * Whisper-base's width, with the vocabulary of Qwen2-Audio. Its weights are random.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseConfig, Qwen2Audio, saveModel, type Example } from '../lib/qwen2-audio';
import { Generator } from '../lib/torch';
import { work } from './settings';

/** Audio tokens of the clip that every contestant hears: 10 s, the whole window. */
export const audioTokens = 250;

export const config = {
  model_type: 'qwen2_audio',
  architectures: ['Qwen2AudioForConditionalGeneration'],
  audio_token_index: 151646,
  audio_config: {
    model_type: 'qwen2_audio_encoder',
    num_mel_bins: 128,
    d_model: 512,
    encoder_layers: 6,
    encoder_attention_heads: 8,
    encoder_ffn_dim: 2048,
    max_source_positions: 2 * audioTokens,
  },
  text_config: {
    model_type: 'qwen2',
    vocab_size: 156032,
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    max_position_embeddings: 8192,
    // No end: every contestant generates as many tokens as it is asked to.
    eos_token_id: 156031,
    pad_token_id: 151643,
    tie_word_embeddings: false,
  },
  tie_word_embeddings: false,
};

/** The folder of the checkpoint, in bfloat16, made when it is not there. */
export function halfBillion(): string {
  return checkpoint('half-billion', config);
}

/** The same with layers so small that a step of generation is all overhead. */
export function tiny(): string {
  const text = { hidden_size: 64, intermediate_size: 128, num_hidden_layers: 4, vocab_size: 512 };
  const heads = { num_attention_heads: 4, eos_token_id: 511, pad_token_id: 510 };
  return checkpoint('tiny', {
    ...config,
    audio_token_index: 509,
    text_config: { ...config.text_config, ...text, ...heads },
  });
}

function checkpoint(name: string, raw: typeof config): string {
  const dir = join(work, name);
  if (existsSync(dir)) return dir;
  const generator = new Generator(1);
  const model = new Qwen2Audio(parseConfig(raw), { generator });
  saveModel(dir, model, undefined, { dtype: 'bfloat16' });
  model.dispose();
  return dir;
}

/** 512 tokens: a prompt with the clip's 250, then text that is learnt. */
export function example(): Example {
  const prompt = Array.from({ length: 12 }, (_, i) => 100 + 37 * i);
  const audio = new Array<number>(audioTokens).fill(config.audio_token_index);
  const text = Array.from({ length: 512 - 12 - audioTokens }, (_, i) => (7919 * i) % 150000);
  const frames = 4 * audioTokens;
  const mel = Float32Array.from({ length: 128 * frames }, (_, i) => ((i * 37) % 101) / 101 - 0.5);
  return {
    inputIds: [...prompt, ...audio, ...text],
    labels: [...[...prompt, ...audio].map(() => -100), ...text],
    mel: { data: mel, nMels: 128, computedFrames: frames, frames, floor: -0.5 },
  };
}
