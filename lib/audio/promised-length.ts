/**
 * Samples a channel that a flac or mp3 file must have at least by its own words, by which a file
 * cut short is told: flac's STREAMINFO, or the Xing or Info header of an mp3. 0 where the file does
 * not say.
 */
export function promisedLength(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = afterId3(bytes);
  if (startsWith(bytes, start, 'fLaC') && start + 26 <= bytes.length) {
    // 36 bits.
    return (view.getUint8(start + 21) % 16) * 2 ** 32 + view.getUint32(start + 22);
  }
  const isFrame = bytes[start] === 0xff && ((bytes[start + 1] ?? 0) & 0xe6) === 0xe2;
  if (!isFrame) return 0;
  const isMpeg1 = (bytes[start + 1]! & 0x18) === 0x18;
  const isMono = (bytes[start + 3] ?? 0) >> 6 === 3;
  const at = start + 4 + (isMpeg1 ? (isMono ? 17 : 32) : isMono ? 9 : 17);
  if (!startsWith(bytes, at, 'Xing') && !startsWith(bytes, at, 'Info')) return 0;
  if (at + 12 > bytes.length || view.getUint32(at + 4) % 2 === 0) return 0;
  const frame = isMpeg1 ? 1152 : 576;
  return Math.max(0, view.getUint32(at + 8) - encoderFrames) * frame;
}

/** Frames of an mp3 that encoder delay and padding may take; a decoder may cut them off. */
const encoderFrames = 4;

/** Where an ID3v2 tag at the beginning ends. */
function afterId3(bytes: Uint8Array): number {
  if (!startsWith(bytes, 0, 'ID3') || bytes.length < 10) return 0;
  const [a, b, c, d] = bytes.subarray(6, 10);
  return 10 + ((a! << 21) | (b! << 14) | (c! << 7) | d!) + (bytes[5]! & 0x10 ? 10 : 0);
}

function startsWith(bytes: Uint8Array, at: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}
