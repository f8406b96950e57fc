/** How samples without a header are written, by ffmpeg's names. */
export type PcmEncoding = 'u8' | 's16le' | 's24le' | 's32le' | 'f32le' | 'f64le';

interface Reader {
  bytes: number;
  read: (view: DataView, at: number) => number;
}

const readers: Record<PcmEncoding, Reader> = {
  u8: { bytes: 1, read: (view, at) => (view.getUint8(at) - 128) / 128 },
  s16le: { bytes: 2, read: (view, at) => view.getInt16(at, true) / 32768 },
  s24le: {
    bytes: 3,
    read: (view, at) => (view.getInt8(at + 2) * 65536 + view.getUint16(at, true)) / 8388608,
  },
  s32le: { bytes: 4, read: (view, at) => view.getInt32(at, true) / 2147483648 },
  f32le: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  f64le: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
};

/** Whether `encoding` is one of {@link PcmEncoding}. */
export function isPcmEncoding(encoding: string): encoding is PcmEncoding {
  return Object.hasOwn(readers, encoding);
}

/** Reads interleaved samples from bytes that may be cut anywhere. Integers become [-1, 1). */
export class PcmReader {
  readonly #reader: Reader;
  /** The beginning of a frame, all channels at one time, whose end has not come yet. */
  #rest: Uint8Array = new Uint8Array(0);

  constructor(
    encoding: PcmEncoding,
    readonly channels: number,
  ) {
    this.#reader = readers[encoding];
  }

  /** One array a channel. */
  push(bytes: Uint8Array): Float32Array[] {
    const whole = joinBytes(this.#rest, bytes);
    const { bytes: size, read } = this.#reader;
    const frame = size * this.channels;
    const count = Math.floor(whole.length / frame);
    this.#rest = whole.slice(count * frame);
    const view = new DataView(whole.buffer, whole.byteOffset, whole.byteLength);
    return Array.from({ length: this.channels }, (_, channel) => {
      const samples = new Float32Array(count);
      let at = channel * size;
      for (let i = 0; i < count; i++, at += frame) samples[i] = read(view, at);
      return samples;
    });
  }
}

/** `b` behind `a`; `b` itself where `a` is empty. */
export function joinBytes(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}
