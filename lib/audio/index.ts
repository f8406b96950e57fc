export { AudioError } from './error';
export { decodeAudio, decodePieces, loadAudio, streamAudio, toMono } from './decode';
export { audioSeconds } from './duration';
export type { AudioSamples, AudioSource, PcmStream } from './source';
export type { PcmEncoding } from './pcm';
export { encodeWav, writeWav, type DecodedAudio } from './wav';
export { resample, Resampler } from './resample';
export { Segmenter, type AudioSegment, type SegmentOptions } from './segment';
export { logMel, padLogMel, type LogMel, type LogMelOptions } from './log-mel';
export {
  FeatureConfigError,
  readFeatureConfig,
  writeFeatureConfig,
  type FeatureConfig,
} from './feature-config';
export {
  addNoise,
  gain,
  highPass,
  lowPass,
  pitchShift,
  room,
  speed,
  tempo,
  type Random,
  type Range,
} from './augment';
export { specAugment, type SpecAugmentOptions } from './spec-augment';
export { warpMel, type WarpOptions } from './warp-mel';
