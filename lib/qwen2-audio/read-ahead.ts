/** Ranges of files, read ahead of their use in bounded memory. Needs no addon. */
import { open, type FileHandle } from 'node:fs/promises';
import { PareError } from '../errors';
import { fileError } from '../files';
import { SafetensorsError } from '../torch/safetensors-header';

export interface FileRange {
  readonly path: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Bytes of a piece; a multiple of the elements of every block of a 4-bit weight. */
export const pieceBytes = 1 << 23;

/** Pieces that are read while others are in use. */
const ahead = 2;

interface Piece {
  range: FileRange;
  at: number;
}

/**
 * Reads ranges in the order given, on other threads, while those before are worked on. Memory: four
 * pieces.
 */
export class ReadAhead {
  readonly #pieces: Iterator<Piece>;
  readonly #handles = new Map<string, Promise<FileHandle>>();
  readonly #free: Buffer[] = [];
  /** Of the pieces given last, the oldest first. */
  readonly #lent: Buffer[] = [];
  readonly #waiting: { range: FileRange; data: Promise<Buffer>; buffer: Buffer }[] = [];

  constructor(ranges: readonly FileRange[]) {
    this.#pieces = piecesOf(ranges);
  }

  /**
   * The bytes of the range whose turn it is, in pieces of {@link pieceBytes} but for the last. A
   * piece is valid until the next but one is asked for.
   * @throws FileError, SafetensorsError naming the file
   */
  async *read(range: FileRange): AsyncGenerator<Uint8Array, void> {
    for (let at = 0; at < range.bytes; at += pieceBytes) {
      while (this.#lent.length > 1) this.#free.push(this.#lent.shift()!);
      this.#fill();
      const next = this.#waiting.shift();
      if (next?.range !== range) throw new Error('ranges are read in the order they were given');
      this.#lent.push(next.buffer);
      yield await next.data;
    }
  }

  /** Closes the files; what is being read is waited for. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#waiting.map(({ data }) => data));
    for (const handle of this.#handles.values()) {
      await handle.then((file) => file.close()).catch(() => undefined);
    }
  }

  #fill(): void {
    while (this.#waiting.length < ahead) {
      const { done, value } = this.#pieces.next();
      if (done) return;
      const buffer = this.#free.pop() ?? Buffer.allocUnsafeSlow(pieceBytes);
      const data = this.#readPiece(value, buffer);
      // Who waits for it hears of an error; until then it is no unhandled one.
      data.catch(() => undefined);
      this.#waiting.push({ range: value.range, data, buffer });
    }
  }

  async #readPiece({ range, at }: Piece, buffer: Buffer): Promise<Buffer> {
    const { path, offset, bytes } = range;
    const length = Math.min(pieceBytes, bytes - at);
    try {
      const file = await this.#open(path);
      for (let done = 0; done < length;) {
        const position = offset + at + done;
        const { bytesRead } = await file.read(buffer, done, length - done, position);
        if (bytesRead === 0) throw new SafetensorsError(`${path} became shorter while it was read`);
        done += bytesRead;
      }
      return buffer.subarray(0, length);
    } catch (error) {
      throw error instanceof PareError ? error : fileError('read', path, error);
    }
  }

  #open(path: string): Promise<FileHandle> {
    let handle = this.#handles.get(path);
    if (handle === undefined) this.#handles.set(path, (handle = open(path, 'r')));
    return handle;
  }
}

function* piecesOf(ranges: readonly FileRange[]): Iterator<Piece> {
  for (const range of ranges) {
    for (let at = 0; at < range.bytes; at += pieceBytes) yield { range, at };
  }
}
