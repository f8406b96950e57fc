import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PareError, shown } from '../errors';
import { fileError, writeFileAtomic } from '../files';
import { fftSize, hopLength, sampleRate } from './log-mel';

/** A preprocessor_config.json that {@link logMel} cannot follow, or that cannot be written. */
export class FeatureConfigError extends PareError {}

/** What of `WhisperFeatureExtractor`'s configuration differs between models. */
export interface FeatureConfig {
  /** Mel bins, `feature_size`. */
  nMels: number;
  /** Samples of the window at 16 kHz, `chunk_length` in samples. */
  windowSamples: number;
}

const file = 'preprocessor_config.json';

/** The values that Whisper's features are computed with, and that {@link logMel} has built in. */
const fixed: Record<string, unknown> = {
  sampling_rate: sampleRate,
  hop_length: hopLength,
  n_fft: fftSize,
  do_normalize: false,
  dither: 0,
  padding_value: 0,
};

/** Where transformers 5 keeps the same, under `feature_extractor`. */
const processorFile = 'processor_config.json';

/**
 * Reads the preprocessor_config.json of a checkpoint, or processor_config.json of transformers 5.
 * @throws FeatureConfigError if it is damaged or asks for features of another kind
 * @throws FileError if both are missing
 */
export function readFeatureConfig(dir: string): FeatureConfig {
  const nested = !existsSync(join(dir, file)) && existsSync(join(dir, processorFile));
  const path = join(dir, nested ? processorFile : file);
  const whole = readObject(path);
  const config = nested ? { ...(whole['feature_extractor'] as object) } : whole;
  return checkConfig(config as Record<string, unknown>, path);
}

function readObject(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('read', path, error);
  }
  try {
    return { ...JSON.parse(text) };
  } catch (cause) {
    throw new FeatureConfigError(
      `${path} is damaged (${(cause as Error).message}); copy it from the checkpoint again`,
      { cause },
    );
  }
}

function checkConfig(config: Record<string, unknown>, path: string): FeatureConfig {
  for (const [key, value] of Object.entries(fixed)) {
    if (config[key] !== undefined && config[key] !== value) {
      throw new FeatureConfigError(
        `${path} has ${key} ${shown(config[key])}; only Whisper's features with ${JSON.stringify(value)} are known`,
      );
    }
  }
  const nMels = config['feature_size'] ?? 80;
  const chunkSeconds = config['chunk_length'] ?? 30;
  if (!isPositive(nMels) || !Number.isInteger(nMels) || !isPositive(chunkSeconds)) {
    throw new FeatureConfigError(
      `${path} has a feature_size or chunk_length that is no positive number; copy it from the checkpoint again`,
    );
  }
  return { nMels, windowSamples: Math.round(chunkSeconds * sampleRate) };
}

/**
 * Writes a preprocessor_config.json from which transformers makes the same features.
 * @throws FeatureConfigError if the window is not a whole number of seconds: `chunk_length` is one
 * @throws FileError if it cannot be written
 */
export function writeFeatureConfig(dir: string, { nMels, windowSamples }: FeatureConfig): void {
  const chunkSeconds = windowSamples / sampleRate;
  if (!Number.isInteger(chunkSeconds)) {
    throw new FeatureConfigError(
      `a window of ${chunkSeconds} s cannot be written to ${join(dir, file)}, which takes whole seconds; make max_source_positions a multiple of 50`,
    );
  }
  const config = {
    chunk_length: chunkSeconds,
    dither: 0,
    feature_extractor_type: 'WhisperFeatureExtractor',
    feature_size: nMels,
    hop_length: hopLength,
    n_fft: fftSize,
    n_samples: windowSamples,
    nb_max_frames: windowSamples / hopLength,
    padding_side: 'right',
    padding_value: 0,
    processor_class: 'Qwen2AudioProcessor',
    return_attention_mask: true,
    sampling_rate: sampleRate,
  };
  writeFileAtomic(join(dir, file), JSON.stringify(config, null, 2) + '\n');
}

function isPositive(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && Number.isFinite(value);
}
