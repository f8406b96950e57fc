import type { AudioConfig, TextConfig } from './config';

/** Logical parameters of a model and of its parts: weights as the arithmetic sees them. */
export interface LogicalParameters {
  total: number;
  /** Both convolutions, positions, layers and the last norm. */
  encoder: number;
  projector: number;
  embeddings: number;
  /** One decoder layer. */
  decoderLayer: number;
  /** All decoder layers and the last norm. */
  decoder: number;
  lmHead: number;
}

/** Counts a model's parameters from its shape alone. */
export function logicalParameters(config: {
  audio: AudioConfig;
  text: TextConfig;
}): LogicalParameters {
  const { audio, text } = config;
  const encoder = encoderParameters(audio);
  const projector = audio.dModel * text.hiddenSize + text.hiddenSize;
  const embeddings = text.vocabSize * text.hiddenSize;
  const decoderLayer = decoderLayerParameters(text);
  const decoder = text.numHiddenLayers * decoderLayer + text.hiddenSize;
  const lmHead = embeddings;
  const total = encoder + projector + embeddings + decoder + lmHead;
  return { total, encoder, projector, embeddings, decoderLayer, decoder, lmHead };
}

function encoderParameters(config: AudioConfig): number {
  const { dModel: d, encoderFfnDim: ffn, numMelBins, maxSourcePositions } = config;
  const convolutions = d * numMelBins * 3 + d + d * d * 3 + d;
  const norm = 2 * d;
  // The key projection has no bias.
  const attention = 4 * d * d + 3 * d;
  const mlp = 2 * d * ffn + ffn + d;
  const layer = attention + mlp + 2 * norm;
  return convolutions + maxSourcePositions * d + config.encoderLayers * layer + norm;
}

function decoderLayerParameters(config: TextConfig): number {
  const { hiddenSize: h, headDim, numAttentionHeads, numKeyValueHeads, intermediateSize } = config;
  const queries = numAttentionHeads * headDim;
  const keys = numKeyValueHeads * headDim;
  // Queries, keys and values have biases, the output has none.
  const attention = h * queries + queries + 2 * (h * keys + keys) + queries * h;
  return attention + 3 * h * intermediateSize + 2 * h;
}
