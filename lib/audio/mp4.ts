import { AudioError } from './error';
import { joinBytes } from './pcm';
import { readRange } from './source';

/** Whether the bytes begin as an MP4 file does: m4a, mp4, mov. */
export function isMp4(bytes: Uint8Array): boolean {
  return bytes.length >= 8 && typeAt(bytes, 0) === 'ftyp';
}

/**
 * An MP4 file's bytes, the table of its samples (`moov`) before the samples (`mdat`). Recorders
 * write it behind, since they know it last, and a decoder would have to keep the whole file until
 * it comes. The offsets in the table are changed as the samples move.
 *
 * @param size bytes of the file
 * @param fileName for the error
 * @throws AudioError if there is no table
 */
export async function* tableFirst(
  source: string | Uint8Array,
  size: number,
  fileName: string,
): AsyncGenerator<Uint8Array, void> {
  const place = await findTable(source, size);
  if (place === 'missing') {
    throw new AudioError(
      `${fileName} has no table of its samples (moov), as if it broke off while it was recorded or fetched; fetch it again`,
    );
  }
  if (place !== 'first') {
    const { samples, from, to } = place;
    const table = await collect(source, from, to);
    if (moveSamples(table, 0, table.length, table.length)) {
      yield* readRange(source, 0, samples);
      yield table;
      yield* readRange(source, samples, from);
      yield* readRange(source, to, size);
      return;
    }
  }
  yield* readRange(source, 0, size);
}

/** Boxes that are looked at; the table is among the first few. */
const mostBoxes = 1000;
/** Bytes of a table; that of a day of audio has some ten million. */
const largestTable = 2 ** 28;

/** Where the table stands, if behind samples. A file of fragments has its table first. */
async function findTable(
  source: string | Uint8Array,
  size: number,
): Promise<'first' | 'missing' | { samples: number; from: number; to: number }> {
  let samples: number | undefined;
  let boxes = 0;
  for (let from = 0; from + 8 <= size;) {
    const head = await collect(source, from, Math.min(size, from + 16));
    const length = boxLength(head, size - from);
    const type = typeAt(head, 0);
    if (length < 8 || type === 'moof' || boxes++ > mostBoxes) return 'first';
    if (type === 'mdat') samples ??= from;
    const to = from + length;
    if (type === 'moov') {
      if (samples === undefined || length > largestTable) return 'first';
      return to > size ? 'missing' : { samples, from, to };
    }
    from = to;
  }
  return 'missing';
}

/** @param rest bytes to the end, which a length of 0 means */
function boxLength(bytes: Uint8Array, rest: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0);
  if (length === 1) return bytes.length < 16 ? 0 : Number(view.getBigUint64(8));
  return length === 0 ? rest : length;
}

const containers = ['moov', 'trak', 'mdia', 'minf', 'stbl'];

/** Adds `distance` to all offsets of chunks in the boxes; whether all are there and fit. */
function moveSamples(bytes: Uint8Array, from: number, to: number, distance: number): boolean {
  for (let at = from; at + 8 <= to;) {
    const length = boxLength(bytes.subarray(at, to), to - at);
    if (length < 8 || at + length > to) return false;
    const type = typeAt(bytes, at);
    const body = bytes.subarray(at + 8, at + length);
    const isMoved = containers.includes(type)
      ? moveSamples(body, 0, body.length, distance)
      : (type !== 'stco' && type !== 'co64') ||
        moveOffsets(body, type === 'co64' ? 8 : 4, distance);
    if (!isMoved) return false;
    at += length;
  }
  return true;
}

/** @param width bytes of an offset */
function moveOffsets(body: Uint8Array, width: 4 | 8, distance: number): boolean {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const count = body.length < 8 ? Infinity : view.getUint32(4);
  if (8 + count * width > body.length) return false;
  for (let i = 0; i < count; i++) {
    const at = 8 + i * width;
    const offset = width === 4 ? view.getUint32(at) : Number(view.getBigUint64(at));
    if (width === 4 && offset + distance > 0xffffffff) return false;
    if (width === 4) view.setUint32(at, offset + distance);
    else view.setBigUint64(at, BigInt(offset + distance));
  }
  return true;
}

async function collect(
  source: string | Uint8Array,
  from: number,
  to: number,
): Promise<Uint8Array<ArrayBuffer>> {
  let bytes: Uint8Array = new Uint8Array(0);
  for await (const piece of readRange(source, from, to)) bytes = joinBytes(bytes, piece);
  // Its own: a table is changed.
  return bytes.slice();
}

function typeAt(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(...bytes.subarray(at + 4, at + 8));
}
