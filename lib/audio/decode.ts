import { readFile } from 'node:fs/promises';
import { fileError } from '../files';
import { decodeInWorker } from './codec-worker';
import { AudioError } from './error';
import { promisedLength } from './promised-length';
import { resample } from './resample';
import { decodeWav, isWav, type DecodedAudio } from './wav';

/**
 * Decodes wav, flac or mp3 (and what else `audio-decode` knows: ogg, opus, m4a, aiff …) at its own
 * rate and channel count.
 *
 * @param source a path, or the bytes of a whole file
 * @throws FileError if the file cannot be read
 * @throws AudioError if it is empty, damaged, no audio, of length zero, or has samples that are not
 *   finite numbers
 */
export async function decodeAudio(source: string | Uint8Array): Promise<DecodedAudio> {
  const name = typeof source === 'string' ? source : 'the audio';
  const bytes = typeof source === 'string' ? await readBytes(source) : source;
  if (bytes.length === 0) {
    throw new AudioError(`${name} is empty (0 bytes); give a wav, flac or mp3 file`);
  }
  const audio = (isWav(bytes) && decodeWav(bytes, name)) || (await decodeCompressed(bytes, name));
  const { samples, sampleRate } = audio;
  if (!samples[0]?.length || !(sampleRate > 0)) {
    throw new AudioError(`${name} has no samples; leave it out or record it again`);
  }
  for (const channel of samples) {
    if (!channel.every(Number.isFinite)) {
      throw new AudioError(
        `${name} has samples that are not finite numbers; write it again with valid samples`,
      );
    }
  }
  return audio;
}

async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw fileError('read', path, error);
  }
}

async function decodeCompressed(bytes: Uint8Array, name: string): Promise<DecodedAudio> {
  let audio: DecodedAudio;
  try {
    audio = await decodeInWorker(bytes);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new AudioError(
      `${name} cannot be decoded as audio (${reason}); give a whole wav, flac or mp3 file`,
      { cause },
    );
  }
  const promised = promisedLength(bytes);
  const decoded = audio.samples[0]?.length ?? 0;
  if (decoded > 0 && decoded < promised) {
    throw new AudioError(
      `${name} is cut short or damaged: ${promised} samples are promised, ${decoded} decode; fetch it again`,
    );
  }
  return audio;
}

/** The mean of the channels. */
export function toMono(samples: Float32Array[]): Float32Array {
  const [first, ...others] = samples;
  if (!first) throw new AudioError('no channels to mix; give at least one');
  const mono = first.slice();
  if (others.length === 0) return mono;
  for (const channel of others) {
    for (let i = 0; i < mono.length; i++) mono[i] = mono[i]! + channel[i]!;
  }
  for (let i = 0; i < mono.length; i++) mono[i] = mono[i]! / samples.length;
  return mono;
}

/**
 * Reads an audio file as the model wants it: mono, at `sampleRate`.
 *
 * @param source a path, or the bytes of a whole file
 * @param sampleRate Hz
 * @throws FileError, AudioError as {@link decodeAudio}
 */
export async function loadAudio(
  source: string | Uint8Array,
  sampleRate = 16000,
): Promise<Float32Array> {
  const audio = await decodeAudio(source);
  return resample(toMono(audio.samples), audio.sampleRate, sampleRate);
}
