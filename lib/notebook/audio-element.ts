import { basename } from 'node:path';
import { encodeWav, streamAudio, type AudioSource } from '../audio';
import { duration } from '../report/format';
import { html } from '../report/markup';

/** What stands beside the player, and how much it holds. */
export interface AudioElementOptions {
  /** Beside the player; the file's name, if it has one, unless given. */
  caption?: string;
  /** What is longer is cut, and said to be; default 60. A second is 43 kB in the notebook. */
  maxSeconds?: number;
}

const sampleRate = 16000;

/**
 * A player for a cell, as HTML that holds the sound: what the model hears, mono at 16 kHz, whatever
 * format the file has.
 * @throws FileError, AudioError as `loadAudio`
 */
export async function audioElement(
  source: AudioSource,
  { caption, maxSeconds = 60 }: AudioElementOptions = {},
): Promise<string> {
  const { samples, cut } = await beginning(source, Math.round(maxSeconds * sampleRate));
  const wav = Buffer.from(encodeWav(samples, sampleRate)).toString('base64');
  const name = caption ?? (typeof source === 'string' ? basename(source) : '');
  const notes = [name, cut && `the first ${duration(samples.length / sampleRate)}`];
  return html`<figure style="margin: 0">
    <audio controls src="data:audio/wav;base64,${wav}"></audio>
    <figcaption>${notes.filter(Boolean).join(', ')}</figcaption>
  </figure>`.text;
}

/** No more is read and decoded than is wanted. */
async function beginning(
  source: AudioSource,
  limit: number,
): Promise<{ samples: Float32Array; cut: boolean }> {
  const pieces: Float32Array[] = [];
  let length = 0;
  for await (const piece of streamAudio(source, sampleRate)) {
    pieces.push(piece);
    length += piece.length;
    if (length > limit) break;
  }
  const samples = new Float32Array(Math.min(length, limit));
  let at = 0;
  for (const piece of pieces) {
    samples.set(piece.subarray(0, samples.length - at), at);
    at += piece.length;
  }
  return { samples, cut: length > limit };
}
