/** config.json of checkpoints, by the name of their shape. */
type Json = Record<string, unknown>;

/** What is the same in all. */
const audio = {
  model_type: 'qwen2_audio_encoder',
  activation_dropout: 0,
  activation_function: 'gelu',
  attention_dropout: 0,
  dropout: 0,
  encoder_layerdrop: 0,
  initializer_range: 0.02,
  num_mel_bins: 128,
  scale_embedding: false,
};
const text = {
  model_type: 'qwen2',
  attention_dropout: 0,
  hidden_act: 'silu',
  initializer_range: 0.02,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  sliding_window: null,
  tie_word_embeddings: false,
  use_cache: true,
  use_sliding_window: false,
};

/** The ids of the special tokens follow from that of `<|AUDIO|>`, the fourth of them. */
function shape(audioTokenIndex: number, audioConfig: Json, textConfig: Json): Json {
  const [endOfText, endOfMessage] = [audioTokenIndex - 3, audioTokenIndex - 1];
  return {
    architectures: ['Qwen2AudioForConditionalGeneration'],
    model_type: 'qwen2_audio',
    audio_token_index: audioTokenIndex,
    ignore_index: -100,
    audio_config: { ...audio, ...audioConfig },
    text_config: {
      ...text,
      bos_token_id: endOfText,
      eos_token_id: endOfMessage,
      pad_token_id: endOfText,
      ...textConfig,
    },
  };
}

export const publicShapes: Readonly<Record<string, Json>> = {
  /** Qwen2-Audio-7B and Qwen2-Audio-7B-Instruct. */
  'qwen2-audio-7b': shape(
    151646,
    {
      d_model: 1280,
      encoder_attention_heads: 20,
      encoder_ffn_dim: 5120,
      encoder_layers: 32,
      max_source_positions: 1500,
    },
    {
      hidden_size: 4096,
      intermediate_size: 11008,
      num_attention_heads: 32,
      num_hidden_layers: 32,
      num_key_value_heads: 32,
      vocab_size: 156032,
    },
  ),
  /** For tests: every width a multiple of 64, as those of the large one are. */
  'qwen2-audio-tiny': shape(
    1000,
    {
      d_model: 64,
      encoder_attention_heads: 4,
      encoder_ffn_dim: 128,
      encoder_layers: 2,
      max_source_positions: 100,
    },
    {
      hidden_size: 128,
      intermediate_size: 192,
      num_attention_heads: 4,
      num_hidden_layers: 4,
      num_key_value_heads: 4,
      vocab_size: 1024,
    },
  ),
};
