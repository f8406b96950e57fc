/** A Qwen2-Audio of some thousand random weights, whole: config, weights, tokenizer, processor. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeWav } from '../lib/audio';
import { parseConfig, Processor, Qwen2Audio, saveModel } from '../lib/qwen2-audio';
import { saveBpe, Tokenizer, trainByteLevelBpe } from '../lib/text';
import { Generator } from '../lib/torch';

export interface TinyOptions {
  decoderLayers?: number;
  seed?: number;
}

/** The longest audio that {@link tinyModel} takes. */
export const tinySeconds = 2;

const texts = [
  'system\nYou are a professional translator.',
  'user\nAudio 1: \nTranslate the English speech into German:',
  'Translate the English speech into Chinese:',
  'assistant\nam Montag um acht Uhr. 星期一上午八点。',
];

/** A model and its processor; the tokenizer's files are written to `dir`. */
export function tinyModel(
  dir: string,
  { decoderLayers = 4, seed = 1 }: TinyOptions = {},
): { model: Qwen2Audio; processor: Processor } {
  saveBpe(dir, trainByteLevelBpe([...texts, ...texts], { vocabSize: 320 }));
  const tokenizer = Tokenizer.fromPretrained(dir);
  const raw = {
    model_type: 'qwen2_audio',
    audio_token_index: tokenizer.tokenToId('<|AUDIO|>'),
    audio_config: {
      model_type: 'qwen2_audio_encoder',
      num_mel_bins: 128,
      d_model: 24,
      encoder_layers: 2,
      encoder_attention_heads: 4,
      encoder_ffn_dim: 32,
      max_source_positions: 50 * tinySeconds,
    },
    text_config: {
      model_type: 'qwen2',
      vocab_size: tokenizer.vocabSize,
      hidden_size: 32,
      intermediate_size: 48,
      num_hidden_layers: decoderLayers,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      // Large, so that the most likely token does not hang on rounding.
      initializer_range: 0.3,
      eos_token_id: tokenizer.tokenToId('<|im_end|>'),
      pad_token_id: tokenizer.tokenToId('<|endoftext|>'),
    },
  };
  const model = new Qwen2Audio(parseConfig(raw), { generator: new Generator(seed) });
  const { maxSourcePositions } = model.config.audio;
  return { model: model.eval(), processor: new Processor({ tokenizer, maxSourcePositions }) };
}

/** Writes a checkpoint folder, which must not exist. */
export function writeTinyCheckpoint(dir: string, options: TinyOptions = {}): void {
  const tokenizer = mkdtempSync(join(tmpdir(), 'pare-tokenizer-'));
  const { model, processor } = tinyModel(tokenizer, options);
  try {
    saveModel(dir, model, processor);
  } finally {
    model.dispose();
    rmSync(tokenizer, { recursive: true });
  }
}

/** Writes a sound file of a gliding tone; another `pitch` is another sound. */
export function writeTone(path: string, seconds: number, pitch: number, rate = 16000): void {
  const samples = Float32Array.from({ length: Math.round(seconds * rate) }, (_, i) => {
    const t = i / rate;
    return 0.4 * Math.sin(2 * Math.PI * pitch * (1 + 0.3 * t) * t) * Math.sin(9 * t) ** 2;
  });
  writeWav(path, samples, rate);
}
