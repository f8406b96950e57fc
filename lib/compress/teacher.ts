/** A vocabulary and a model with a random start, for checkpoints made here (the demo's teacher). */
import type { Utterance } from '../data';
import { parseConfig, Qwen2Audio, translatorSystemPrompt, type Processor } from '../qwen2-audio';
import { ChatTemplate, qwen2AudioSpecialTokens, saveBpe, trainByteLevelBpe } from '../text';
import { Generator, type DType } from '../torch';
import { instructionOf, transcribe } from '../train/examples';

/** The shape of a new model, in the words of config.json. */
export interface ModelShape {
  audio: {
    d_model: number;
    encoder_layers: number;
    encoder_attention_heads: number;
    encoder_ffn_dim: number;
    max_source_positions: number;
  };
  text: {
    hidden_size: number;
    intermediate_size: number;
    num_hidden_layers: number;
    num_attention_heads: number;
    num_key_value_heads: number;
    initializer_range: number;
  };
}

/**
 * A Qwen2-Audio of the given shape and the processor's vocabulary, with seeded random weights: in
 * bfloat16 those of float32, rounded.
 */
export function randomModel(
  shape: ModelShape,
  processor: Processor,
  seed: number,
  dtype?: DType,
): Qwen2Audio {
  const { tokenizer } = processor;
  const eos = tokenizer.tokenToId('<|im_end|>');
  const raw = {
    architectures: ['Qwen2AudioForConditionalGeneration'],
    model_type: 'qwen2_audio',
    audio_token_index: processor.audioTokenId,
    audio_config: {
      model_type: 'qwen2_audio_encoder',
      num_mel_bins: processor.nMels,
      activation_function: 'gelu',
      ...shape.audio,
    },
    text_config: {
      model_type: 'qwen2',
      vocab_size: tokenizer.vocabSize,
      hidden_act: 'silu',
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      max_position_embeddings: 8192,
      tie_word_embeddings: false,
      eos_token_id: eos,
      pad_token_id: tokenizer.tokenToId('<|endoftext|>'),
      ...shape.text,
    },
  };
  return new Qwen2Audio(parseConfig(raw), { generator: new Generator(seed), dtype });
}

/**
 * Learns a byte-level BPE vocabulary in Qwen2's form from a training split and the prompts, and
 * writes it to `dir`. A prompt counts as often as there are utterances, since it is read with each.
 */
export function trainTokenizer(
  dir: string,
  utterances: readonly Utterance[],
  languages: readonly string[],
  vocabSize: number,
): void {
  const texts = new Set(
    utterances.flatMap((u) => [` ${u.text}`, u.text, ...languages.map((l) => u.translations[l]!)]),
  );
  const template = new ChatTemplate();
  const prompts = [transcribe, ...languages].flatMap((task) => {
    const text = template.render(
      [
        { role: 'system', content: translatorSystemPrompt },
        { role: 'user', content: [{ type: 'audio' }, { type: 'text', text: instructionOf(task) }] },
      ],
      { addGenerationPrompt: true },
    );
    return text.split(/<\|\w+\|>/).filter((piece) => piece !== '');
  });
  const weighted = utterances.flatMap(() => prompts);
  const specialTokens = qwen2AudioSpecialTokens;
  saveBpe(dir, trainByteLevelBpe([...texts, ...weighted], { vocabSize, specialTokens }));
}
