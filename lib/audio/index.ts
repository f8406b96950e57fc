export { AudioError } from './error';
export { decodeAudio, loadAudio, toMono } from './decode';
export { encodeWav, writeWav, type DecodedAudio } from './wav';
export { resample } from './resample';
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
