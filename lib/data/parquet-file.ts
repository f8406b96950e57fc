/** One Parquet file: its rows a row group at a time, and single cells a page at a time. */
import { open, type FileHandle } from 'node:fs/promises';
import type { ColumnChunk, FileMetaData, RowGroup, SchemaTree } from 'hyparquet';
import type { Column } from './columns';
import { CorpusError } from './error';
import { fileError } from '../files';

type Hyparquet = typeof import('hyparquet');
type HyparquetColumn = typeof import('hyparquet/types/column');
type Compressors = NonNullable<Parameters<Hyparquet['parquetRead']>[0]['compressors']>;

/** Rows whose cells in a column are unpacked together: a page, or a chunk that has a dictionary. */
export interface Block {
  /** The first row, in the file. */
  start: number;
  rows: number;
}

interface PlannedBlock extends Block {
  rowGroup: RowGroup;
}

/** Header and page are read at a time; a header has some dozens of bytes, or statistics of 8 kB. */
const headerBytes = 1 << 16;

export class ParquetFile {
  readonly #blocks = new Map<string, Promise<PlannedBlock[]>>();

  private constructor(
    readonly path: string,
    readonly metadata: FileMetaData,
    readonly size: number,
    readonly library: Library,
  ) {}

  /**
   * Reads the file's footer.
   * @throws CorpusError if it is damaged or no Parquet, FileError
   */
  static async open(path: string): Promise<ParquetFile> {
    const library = await loadLibrary();
    return inWords(path, async () => {
      const size = await withFile(path, async (file) => (await file.stat()).size);
      const buffer = { byteLength: size, slice: slicer(path, size) };
      return new ParquetFile(path, await library.parquetMetadataAsync(buffer), size, library);
    });
  }

  get rows(): number {
    return Number(this.metadata.num_rows);
  }

  /** The columns, lists and maps among them without parts. */
  get columns(): Column[] {
    const { children } = this.library.parquetSchema(this.metadata);
    return children.map(({ element, children: parts }) => ({
      name: element.name,
      parts: element.converted_type === undefined ? parts.map((p) => p.element.name) : [],
    }));
  }

  /** Whether a column holds bytes that are no text. */
  isBinary(path: readonly string[]): boolean {
    const element = this.#leaf(path)?.element;
    return (
      element?.type === 'BYTE_ARRAY' &&
      element.converted_type === undefined &&
      element.logical_type === undefined
    );
  }

  /** Whether no row has anything in a column, as far as the footer says. */
  isNull(path: readonly string[]): boolean {
    return this.metadata.row_groups.every((group) => {
      const data = chunkOf(group, path)?.meta_data;
      const nulls = data?.statistics?.null_count;
      return data === undefined || (nulls !== undefined && nulls === data.num_values);
    });
  }

  /**
   * All rows with some of their columns, in order, with memory for those of a row group.
   * @throws CorpusError naming the file if it is damaged or compressed in an unknown way
   */
  async *read(columns: readonly string[]): AsyncGenerator<Record<string, unknown>, void> {
    let start = 0;
    for (const { num_rows: count } of this.metadata.row_groups) {
      const end = start + Number(count);
      yield* await this.#rows(this.metadata, [...columns], start, end);
      start = end;
    }
  }

  /** The blocks of a column of bytes, in order of their rows. */
  blocks(path: readonly string[]): Promise<Block[]> {
    const key = path.join('.');
    let blocks = this.#blocks.get(key);
    if (blocks === undefined) {
      blocks = inWords(this.path, () => this.#planBlocks(path));
      this.#blocks.set(key, blocks);
    }
    return blocks;
  }

  /** The cells of a block of {@link blocks}; null where a row has none. */
  async readBlock(path: readonly string[], block: Block): Promise<(Uint8Array | null)[]> {
    const { rowGroup } = block as PlannedBlock;
    const { metadata } = this;
    // Only what leads to the column: its siblings have other pages.
    const schema = [metadata.schema[0]!, ...this.#branch(path)].map((element, i) =>
      i < path.length ? { ...element, num_children: 1 } : element,
    );
    const part = { ...metadata, schema, row_groups: [rowGroup], num_rows: rowGroup.num_rows };
    const rows = await this.#rows(part, [path[0]!], 0, block.rows);
    return rows.map((row) => {
      let value: unknown = row;
      for (const name of path) value = (value as Record<string, unknown> | null)?.[name];
      return value instanceof Uint8Array ? value : null;
    });
  }

  #rows(
    metadata: FileMetaData,
    columns: string[],
    rowStart: number,
    rowEnd: number,
  ): Promise<Record<string, unknown>[]> {
    const { compressors, parquetReadObjects } = this.library;
    return inWords(this.path, () =>
      parquetReadObjects({
        file: { byteLength: this.size, slice: slicer(this.path, this.size) },
        ...{ metadata, columns, rowStart, rowEnd, compressors, utf8: false },
      }),
    );
  }

  #leaf(path: readonly string[]): SchemaTree | undefined {
    let node: SchemaTree | undefined = this.library.parquetSchema(this.metadata);
    for (const name of path) node = node?.children.find(({ element }) => element.name === name);
    return node;
  }

  /** The schema's elements on the way to a column. */
  #branch(path: readonly string[]): FileMetaData['schema'] {
    return path.map((_, i) => this.#leaf(path.slice(0, i + 1))!.element);
  }

  async #planBlocks(path: readonly string[]): Promise<PlannedBlock[]> {
    const blocks: PlannedBlock[] = [];
    let start = 0;
    await withFile(this.path, async (file) => {
      for (const group of this.metadata.row_groups) {
        const chunk = chunkOf(group, path);
        if (chunk?.meta_data === undefined) throw new Error(`no column ${path.join('.')}`);
        for (const page of await this.#pages(file, chunk)) {
          const { rows, at, bytes } = page;
          // A page as a row group of its own, which hyparquet reads alone.
          const data = {
            ...chunk.meta_data,
            ...{ data_page_offset: BigInt(at), dictionary_page_offset: undefined },
            ...{ total_compressed_size: BigInt(bytes), num_values: BigInt(rows) },
          };
          const columns = [{ ...chunk, meta_data: data }];
          blocks.push({ start, rows, rowGroup: { ...group, columns, num_rows: BigInt(rows) } });
          start += rows;
        }
      }
    });
    return blocks;
  }

  /** Pages of a chunk from their headers; pages that need a dictionary are one with it. */
  async #pages(
    file: FileHandle,
    { meta_data: data }: ColumnChunk,
  ): Promise<{ rows: number; at: number; bytes: number }[]> {
    const { parquetHeader } = this.library;
    const first = Number(data!.dictionary_page_offset ?? data!.data_page_offset);
    const end = first + Number(data!.total_compressed_size);
    const pages: { rows: number; at: number; bytes: number }[] = [];
    let dictionary: (typeof pages)[0] | undefined;
    for (let at = first; at < end;) {
      const bytes = new Uint8Array(Math.min(headerBytes, end - at));
      const { bytesRead } = await file.read(bytes, 0, bytes.length, at);
      const reader = { view: new DataView(bytes.buffer, 0, bytesRead), offset: 0 };
      const header = parquetHeader(reader);
      const length = reader.offset + header.compressed_page_size;
      if (!(header.compressed_page_size >= 0)) throw new Error('a page has no size');
      const values = header.data_page_header ?? header.data_page_header_v2;
      if (header.type === 'DICTIONARY_PAGE') {
        dictionary = { rows: 0, at, bytes: length };
        pages.push(dictionary);
      } else if (values !== undefined) {
        const rows = values.num_values;
        if (dictionary !== undefined && /DICTIONARY/.test(values.encoding)) {
          dictionary.rows += rows;
          dictionary.bytes += length;
        } else pages.push({ rows, at, bytes: length });
      }
      at += length;
    }
    return pages.filter(({ rows }) => rows > 0);
  }
}

function chunkOf({ columns }: RowGroup, path: readonly string[]): ColumnChunk | undefined {
  return columns.find(({ meta_data: data }) => data?.path_in_schema.join('.') === path.join('.'));
}

async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, 'r');
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

function slicer(path: string, size: number) {
  return (start: number, end: number = size): Promise<ArrayBuffer> =>
    withFile(path, async (file) => {
      if (start < 0 || end > size || start > end) throw new Error('a part lies outside the file');
      const bytes = new Uint8Array(end - start);
      for (let at = 0; at < bytes.length;) {
        const { bytesRead } = await file.read(bytes, at, bytes.length - at, start + at);
        if (bytesRead === 0) throw new Error('it ends too early');
        at += bytesRead;
      }
      return bytes.buffer;
    });
}

/** What the library or the system says, as an error that names the file. */
async function inWords<T>(path: string, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).syscall !== undefined) {
      throw fileError('read', path, cause);
    }
    const reason = cause instanceof Error ? cause.message : String(cause);
    const codec = /unsupported compression codec: (\w+)/.exec(reason)?.[1];
    throw new CorpusError(
      codec === undefined
        ? `${path} is damaged or no Parquet file (${reason}); fetch it again`
        : `${path} is compressed with ${codec}, which is not read; write it again with zstd or snappy`,
      { cause },
    );
  }
}

type Library = Pick<Hyparquet, 'parquetMetadataAsync' | 'parquetReadObjects' | 'parquetSchema'> &
  Pick<HyparquetColumn, 'parquetHeader'> & { compressors: Compressors };

async function loadLibrary(): Promise<Library> {
  try {
    const [library, column, { compressors }] = await Promise.all([
      import('hyparquet'),
      // @ts-expect-error exported, but its declarations are elsewhere
      import('hyparquet/src/column.js') as Promise<HyparquetColumn>,
      import('hyparquet-compressors'),
    ]);
    const { parquetMetadataAsync, parquetReadObjects, parquetSchema } = library;
    const { parquetHeader } = column;
    return { parquetMetadataAsync, parquetReadObjects, parquetSchema, parquetHeader, compressors };
  } catch (cause) {
    if ((cause as { code?: string }).code !== 'ERR_REQUIRE_ESM') throw cause;
    throw new CorpusError(
      `Parquet files are read by Node 20.19 or later, this is ${process.version}; update Node`,
      { cause },
    );
  }
}
