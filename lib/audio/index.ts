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
