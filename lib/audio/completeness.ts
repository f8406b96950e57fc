import { joinBytes } from './pcm';

/**
 * Tells a compressed file that is cut short, by its own words: a flac or mp3 promises a number of
 * samples, the pages of an ogg and the boxes of an m4a say where they end. Files that say nothing
 * pass.
 */
export class Completeness {
  /** The beginning of what follows an ID3 tag, as much as {@link promisedLength} reads. */
  #head: Uint8Array = new Uint8Array(0);
  #headStart = 0;
  #seen = 0;
  /** Bytes from where the next page or box begins, once they are there. */
  #ahead: Uint8Array = new Uint8Array(0);
  #next = 0;
  #measure: typeof pageLength | undefined;

  /** Looks at the next bytes of the file, the first time at 16 or more. */
  see(bytes: Uint8Array): void {
    if (this.#seen === 0) {
      this.#headStart = afterId3(bytes);
      if (startsWith(bytes, 0, 'OggS')) this.#measure = pageLength;
      if (startsWith(bytes, 4, 'ftyp')) this.#measure = boxLength;
    }
    const from = Math.max(0, this.#headStart + this.#head.length - this.#seen);
    const to = Math.max(0, this.#headStart + headBytes - this.#seen);
    this.#head = joinBytes(this.#head, bytes.slice(from, to));
    this.#seen += bytes.length;
    if (this.#measure === undefined || this.#next >= this.#seen) return;
    const start = this.#seen - bytes.length - this.#ahead.length;
    this.#ahead = joinBytes(this.#ahead, bytes).slice(Math.max(0, this.#next - start));
    for (let length; (length = this.#measure(this.#ahead)) !== undefined;) {
      if (length === 0) {
        // Neither page nor box: what the file promises is not known.
        this.#measure = undefined;
        return;
      }
      this.#next += length;
      this.#ahead = this.#ahead.subarray(Math.min(length, this.#ahead.length));
    }
  }

  /**
   * What is wrong, in words that go on from the file's name; undefined if nothing.
   * @param decoded samples a channel that the file's bytes gave
   */
  complaint(decoded: number): string | undefined {
    const promised = promisedLength(this.#head);
    if (decoded < promised) return `${promised} samples are promised, ${decoded} decode`;
    if (this.#measure === undefined || this.#next === Infinity) return undefined;
    const isCut = this.#next > this.#seen || this.#ahead.length > 0;
    return isCut ? `it ends in the middle of a part, after ${this.#seen} bytes` : undefined;
  }
}

const headBytes = 512;

/** Bytes of an ogg page; undefined if more must be seen, 0 if it is none. */
function pageLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < 27) return undefined;
  if (!startsWith(bytes, 0, 'OggS')) return 0;
  const segments = bytes[26]!;
  if (bytes.length < 27 + segments) return undefined;
  return bytes.subarray(27, 27 + segments).reduce((sum, size) => sum + size, 27 + segments);
}

/** Bytes of a box of an MP4 file; undefined if more must be seen, 0 if it is none. */
function boxLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < 8) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = view.getUint32(0);
  // To the end of the file.
  if (size === 0) return Infinity;
  if (size !== 1) return size < 8 ? 0 : size;
  return bytes.length < 16 ? undefined : Number(view.getBigUint64(8));
}

/**
 * Samples a channel that a flac or mp3 file must have at least: flac's STREAMINFO, or the Xing or
 * Info header of an mp3. 0 where the file does not say.
 * @param bytes its beginning, behind an ID3 tag
 */
function promisedLength(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (startsWith(bytes, 0, 'fLaC') && bytes.length >= 26) {
    // 36 bits.
    return (view.getUint8(21) % 16) * 2 ** 32 + view.getUint32(22);
  }
  const isFrame = bytes[0] === 0xff && ((bytes[1] ?? 0) & 0xe6) === 0xe2;
  if (!isFrame) return 0;
  const isMpeg1 = (bytes[1]! & 0x18) === 0x18;
  const isMono = (bytes[3] ?? 0) >> 6 === 3;
  const at = 4 + (isMpeg1 ? (isMono ? 17 : 32) : isMono ? 9 : 17);
  if (!startsWith(bytes, at, 'Xing') && !startsWith(bytes, at, 'Info')) return 0;
  if (at + 12 > bytes.length || view.getUint32(at + 4) % 2 === 0) return 0;
  const frame = isMpeg1 ? 1152 : 576;
  return Math.max(0, view.getUint32(at + 8) - encoderFrames) * frame;
}

/** Frames of an mp3 that encoder delay and padding may take; a decoder may cut them off. */
const encoderFrames = 4;

/** Where an ID3v2 tag at the beginning ends. */
export function afterId3(bytes: Uint8Array): number {
  if (!startsWith(bytes, 0, 'ID3') || bytes.length < 10) return 0;
  const [a, b, c, d] = bytes.subarray(6, 10);
  return 10 + ((a! << 21) | (b! << 14) | (c! << 7) | d!) + (bytes[5]! & 0x10 ? 10 : 0);
}

export function startsWith(bytes: Uint8Array, at: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}
