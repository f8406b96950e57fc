import { afterId3, startsWith } from './completeness';
import { decodePieces } from './decode';
import { joinBytes } from './pcm';
import { nameOf, readRange, sizeOf } from './source';
import { isWav, WavDecoder } from './wav';

/** Bytes of a beginning or an end that are looked at. */
const part = 65536;

/**
 * Seconds of a file, from its header where that tells: wav, flac, mp3 (where no count of frames is
 * written, from its size and first rate), ogg vorbis and opus. What says nothing is decoded and
 * counted. Nothing is checked: a damaged file may have any length.
 * @param source a path, or the bytes of a whole file
 * @throws FileError, and AudioError for what had to be decoded and could not be
 */
export async function audioSeconds(source: string | Uint8Array): Promise<number> {
  const size = await sizeOf(source);
  if (size !== undefined) {
    const head = await bytesOf(source, 0, Math.min(size, part));
    const seconds = isWav(head)
      ? wavSeconds(head, size, nameOf(source))
      : startsWith(head, 0, 'OggS')
        ? oggSeconds(head, await bytesOf(source, Math.max(0, size - part), size))
        : framesSeconds(head, size);
    if (seconds !== undefined && Number.isFinite(seconds) && seconds >= 0) return seconds;
  }
  let seconds = 0;
  for await (const { samples, sampleRate } of decodePieces(source)) {
    seconds += samples[0]!.length / sampleRate;
  }
  return seconds;
}

async function bytesOf(source: string | Uint8Array, from: number, to: number): Promise<Uint8Array> {
  let bytes: Uint8Array = new Uint8Array(0);
  for await (const piece of readRange(source, from, to)) bytes = joinBytes(bytes, piece);
  return bytes;
}

function wavSeconds(head: Uint8Array, size: number, name: string): number | undefined {
  const decoder = new WavDecoder(name);
  try {
    if (decoder.push(head) === undefined) return undefined;
  } catch {
    return undefined;
  }
  return decoder.seconds(size);
}

/** The position that the last page names, by the rate that the first has. */
function oggSeconds(head: Uint8Array, tail: Uint8Array): number | undefined {
  const body = 27 + (head[26] ?? 0);
  const isOpus = startsWith(head, body, 'OpusHead');
  if (!isOpus && !startsWith(head, body + 1, 'vorbis')) return undefined;
  if (head.length < body + 20) return undefined;
  const first = viewOf(head);
  const rate = isOpus ? 48000 : first.getUint32(body + 12, true);
  const skipped = isOpus ? first.getUint16(body + 10, true) : 0;
  for (let at = tail.length - 27; at >= 0; at--) {
    if (!startsWith(tail, at, 'OggS')) continue;
    return (Number(viewOf(tail).getBigInt64(at + 6, true)) - skipped) / rate;
  }
  return undefined;
}

/** Of a flac or mp3. */
function framesSeconds(head: Uint8Array, size: number): number | undefined {
  const start = afterId3(head);
  const bytes = head.subarray(start);
  if (bytes.length < 40) return undefined;
  const view = viewOf(bytes);
  if (startsWith(bytes, 0, 'fLaC')) {
    const samples = (view.getUint8(21) % 16) * 2 ** 32 + view.getUint32(22);
    return samples === 0 ? undefined : samples / (view.getUint32(18) >>> 12);
  }
  const header = view.getUint32(0);
  if (header >>> 21 !== 0x7ff || ((header >>> 17) & 3) !== 1) return undefined;
  const version = (header >>> 19) & 3; // 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5.
  const rate = [44100, 48000, 32000][(header >>> 10) & 3];
  const kbps = (version === 3 ? bitrates1 : bitrates2)[(header >>> 12) & 15];
  if (version === 1 || rate === undefined || !kbps) return undefined;
  const perSecond = version === 3 ? rate : rate / (version === 2 ? 2 : 4);
  const isMono = ((header >>> 6) & 3) === 3;
  const info = 4 + (version === 3 ? (isMono ? 17 : 32) : isMono ? 9 : 17);
  const isCounted = startsWith(bytes, info, 'Xing') || startsWith(bytes, info, 'Info');
  if (isCounted && bytes.length >= info + 12 && view.getUint32(info + 4) % 2 === 1) {
    return (view.getUint32(info + 8) * (version === 3 ? 1152 : 576)) / perSecond;
  }
  return ((size - start) * 8) / (kbps * 1000);
}

/** kbit/s of layer 3 by index. */
const bitrates1 = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
const bitrates2 = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
