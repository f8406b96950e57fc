/** A flac file of given integers, uncompressed (VERBATIM subframes): https://www.rfc-editor.org/rfc/rfc9639 */

/** How a frame says what its samples are; audio-decode does not look it up in STREAMINFO. */
const codes: Record<number, number> = { 8: 1, 16: 4, 24: 6 };
const rate = 16000;
const rateCode = 5;

/** @param channels integers of `bits` bits at 16 kHz, all of one length */
export function encodeFlac(channels: readonly Int32Array[], bits: number): Buffer {
  const block = 4096;
  const { length } = channels[0]!;
  const info = new Bits();
  info.put(block, 16).put(block, 16).put(0, 24).put(0, 24);
  info
    .put(rate, 20)
    .put(channels.length - 1, 3)
    .put(bits - 1, 5)
    .put(0, 4)
    .put(length, 32);
  for (let i = 0; i < 4; i++) info.put(0, 32); // no MD5
  const frames: Buffer[] = [];
  for (let at = 0; at < length; at += block) {
    const count = Math.min(block, length - at);
    const frame = new Bits();
    // Sync, a block size told by 16 bits, rate, channels, size of a sample.
    frame.put(0xfff8, 16).put(7, 4).put(rateCode, 4);
    frame
      .put(channels.length - 1, 4)
      .put(codes[bits]!, 3)
      .put(0, 1);
    frame.put(at / block, 8); // as UTF-8: below 128
    frame.put(count - 1, 16);
    frame.put(crc(frame.bytes(), 8, 0x07), 8);
    for (const samples of channels) {
      frame.put(2, 8);
      for (const sample of samples.subarray(at, at + count)) frame.put(sample, bits);
    }
    const body = frame.bytes();
    frames.push(body, new Bits().put(crc(body, 16, 0x8005), 16).bytes());
  }
  return Buffer.concat([Buffer.from('fLaC'), Buffer.of(0x80, 0, 0, 34), info.bytes(), ...frames]);
}

class Bits {
  readonly #bytes: number[] = [];
  #rest = 0;
  #count = 0;

  put(value: number, bits: number): this {
    for (let i = bits - 1; i >= 0; i--) {
      this.#rest = (this.#rest << 1) | ((value >> i) & 1);
      if (++this.#count < 8) continue;
      this.#bytes.push(this.#rest);
      [this.#rest, this.#count] = [0, 0];
    }
    return this;
  }

  /** Filled with zeros to a whole byte. */
  bytes(): Buffer {
    while (this.#count > 0) this.put(0, 1);
    return Buffer.from(this.#bytes);
  }
}

function crc(bytes: Uint8Array, width: number, polynomial: number): number {
  const top = 1 << (width - 1);
  const mask = 2 ** width - 1;
  let value = 0;
  for (const byte of bytes) {
    value ^= byte << (width - 8);
    for (let i = 0; i < 8; i++) value = ((value << 1) ^ (value & top ? polynomial : 0)) & mask;
  }
  return value;
}
