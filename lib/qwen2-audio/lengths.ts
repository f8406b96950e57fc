/**
 * How many positions an audio takes on its way through the encoder
 * (`Qwen2AudioEncoder._get_feat_extract_output_lengths` in transformers).
 */

/** Encoder positions L of `melFrames` real frames, after the second convolution. */
export function encoderPositions(melFrames: number): number {
  return Math.floor((melFrames - 1) / 2) + 1;
}

/** Audio tokens n of `melFrames` real frames, after the pool by two. */
export function audioTokenCount(melFrames: number): number {
  return Math.floor((encoderPositions(melFrames) - 2) / 2) + 1;
}
