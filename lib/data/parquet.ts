/** A corpus in Parquet files, as Hugging Face's datasets has it: shards with sounds or their paths. */
import { existsSync } from 'node:fs';
import { basename, isAbsolute, join, normalize, sep } from 'node:path';
import { audioSeconds } from '../audio';
import { named } from '../errors';
import { findColumns, languagePairIn, type ColumnNames, type Columns } from './columns';
import type { Corpus, ReadOptions, Utterance } from './corpus';
import { CorpusError, unknownSplit } from './error';
import { ParquetFile, type Block } from './parquet-file';
import { RowReader } from './rows';
import type { SplitFiles } from './split-files';

/** Bytes of unpacked sounds that are kept, so that neighbours are unpacked once. */
const keptBytes = 256 * 2 ** 20;

/**
 * Opens a folder with Parquet files, of which the first one's footer is read.
 * @param name `dir`, or what the hub calls it
 * @throws CorpusError naming the column that is missing, or a file that is damaged
 */
export async function openParquet(
  dir: string,
  name: string,
  files: readonly SplitFiles[],
  names: ColumnNames,
): Promise<Corpus> {
  const corpus = new ParquetCorpus(dir, name, files, names);
  await corpus.open();
  return corpus;
}

/** Sounds of a block; calls that come while they are unpacked wait for the same. */
interface Kept {
  cells: Promise<(Uint8Array | null)[]>;
  size: number;
}

/** A file with what its columns are. */
interface Shard {
  file: ParquetFile;
  columns: Columns;
  /** The column of the sounds' bytes; undefined where only their paths are there. */
  bytes: string[] | undefined;
  /** The column of the sounds' paths. */
  path: string[] | undefined;
}

class ParquetCorpus implements Corpus {
  description!: Corpus['description'];
  readonly #splits: string[];
  readonly #shards = new Map<string, Promise<Shard>>();
  /** Unpacked sounds by shard and first row, the longest unused first. */
  readonly #kept = new Map<string, Kept>();
  #keptSize = 0;
  /** Blocks of the shards that were read, to tell a row's at once. */
  readonly #blocks = new Map<string, readonly Block[]>();

  constructor(
    readonly dir: string,
    readonly name: string,
    readonly files: readonly SplitFiles[],
    readonly names: ColumnNames,
  ) {
    this.#splits = [...new Set(files.map(({ split }) => split!))];
  }

  async open(): Promise<void> {
    const { columns } = await this.#shard(this.files[0]!.path);
    this.description = {
      name: basename(this.name),
      version: this.#isRemote ? basename(this.dir) : '',
      languages: { source: columns.source, targets: [...columns.translations.keys()] },
      splits: Object.fromEntries(this.#splits.map((split) => [split, {}])),
    };
  }

  get #isRemote(): boolean {
    return this.name !== this.dir;
  }

  async read(split: string, options: ReadOptions = {}): Promise<Utterance[]> {
    const paths = this.files.filter((file) => file.split === split).map(({ path }) => path);
    if (paths.length === 0) throw unknownSplit(this.dir, split, this.#splits);
    const reader = new RowReader(split, options);
    let number = 0;
    for (const path of paths) {
      const { file, columns, bytes, path: names } = await this.#shard(path);
      if (bytes !== undefined) this.#blocks.set(path, await file.blocks(bytes));
      const wanted = [columns.text, columns.seconds, columns.speaker, columns.group, columns.id];
      const roots = [
        ...wanted,
        ...columns.translations.values(),
        bytes ? undefined : names,
      ].flatMap((column) => column?.[0] ?? []);
      let row = 0;
      for await (const values of file.read([...new Set(roots)])) {
        row++;
        number++;
        const where = `${file.path} row ${row}`;
        const audio = `${path}#${row}`;
        await reader.add(values, { ...columns, audio: names ?? [] }, number, where, (found) =>
          bytes === undefined
            ? this.#outside(found, where)
            : { audio, seconds: () => this.#secondsOf(audio, where) },
        );
      }
    }
    return reader.utterances;
  }

  async audio({ audio }: Utterance): Promise<string | Uint8Array> {
    const cell = cellOf(audio);
    return cell === undefined ? this.#pathOf(audio) : this.#bytesOf(cell.path, cell.row);
  }

  audioName({ audio }: Utterance): string {
    const cell = cellOf(audio);
    if (cell === undefined) return this.#pathOf(audio);
    return `${join(this.dir, cell.path)} row ${cell.row}`;
  }

  audioFiles(utterances: readonly Utterance[]): string[] {
    const files = utterances.map(({ audio }) => this.#pathOf(cellOf(audio)?.path ?? audio));
    return [...new Set(files)];
  }

  blockOf({ audio }: Utterance): string | undefined {
    const cell = cellOf(audio);
    const blocks = cell && this.#blocks.get(cell.path);
    return blocks && `${cell.path}#${blockAt(blocks, cell.row).start}`;
  }

  #pathOf(path: string): string {
    return isAbsolute(path) ? path : join(this.dir, path);
  }

  #shard(path: string): Promise<Shard> {
    let shard = this.#shards.get(path);
    if (shard === undefined) {
      shard = this.#open(path);
      this.#shards.set(path, shard);
    }
    return shard;
  }

  async #open(path: string): Promise<Shard> {
    const file = await ParquetFile.open(join(this.dir, path));
    const there = file.columns;
    // `datasets` has sounds in a column with two parts, whatever it is called.
    const struct = there.find(({ parts }) => parts.includes('bytes') && parts.includes('path'));
    const names = { ...this.names, audio: this.names.audio ?? struct?.name };
    const pair = languagePairIn(path) ?? languagePairIn(this.name);
    const columns = findColumns(there, names, pair, file.path);
    const parts = there.find(({ name }) => name === columns.audio.join('.'))?.parts ?? [];
    const part = (name: string): string[] | undefined =>
      parts.includes(name) ? [...columns.audio, name] : undefined;
    const isBinary = file.isBinary(columns.audio);
    const bytes = isBinary ? columns.audio : part('bytes');
    const isThere = bytes !== undefined && !file.isNull(bytes);
    const names_ = isBinary ? undefined : (part('path') ?? columns.audio);
    if (parts.length > 0 && part('bytes') === undefined && part('path') === undefined) {
      throw new CorpusError(
        `${file.path}: ${columns.audio.join('.')} holds neither bytes nor path (${parts.join(', ')}); ` +
          'write sounds as files',
      );
    }
    return { file, columns, bytes: isThere ? bytes : undefined, path: names_ };
  }

  /** A sound that lies beside the tables. */
  #outside(found: unknown, where: string): { audio: string; seconds: () => Promise<number> } {
    if (typeof found !== 'string' || found === '') {
      throw new CorpusError(`${where} has neither a sound nor the path of one; leave it out`);
    }
    const isOutside = isAbsolute(found) ? this.#isRemote : normalize(found).split(sep)[0] === '..';
    if (isOutside) {
      throw new CorpusError(`${where}: audio '${found}' lies outside the corpus`);
    }
    const path = this.#pathOf(found);
    if (existsSync(path)) return { audio: found, seconds: () => audioSeconds(path) };
    throw new CorpusError(
      `${where}: ${path} does not exist; restore the file or leave the row out`,
    );
  }

  async #secondsOf(audio: string, where: string): Promise<number> {
    const { path, row } = cellOf(audio)!;
    try {
      return await audioSeconds(await this.#bytesOf(path, row));
    } catch (error) {
      throw named(where, error);
    }
  }

  async #bytesOf(path: string, row: number): Promise<Uint8Array> {
    const { file, bytes } = await this.#shard(path);
    if (bytes === undefined) throw new CorpusError(`${file.path} holds no sounds`);
    const block = blockAt(await file.blocks(bytes), row);
    const key = `${path}#${block.start}`;
    const kept = this.#kept.get(key) ?? this.#unpack(key, file.readBlock(bytes, block));
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    const cells = await kept.cells;
    for (const [other, { size }] of this.#kept) {
      if (this.#keptSize <= keptBytes || other === key) break;
      this.#kept.delete(other);
      this.#keptSize -= size;
    }
    const cell = cells[row - 1 - block.start];
    if (cell) return cell;
    throw new CorpusError(`${file.path} row ${row} has no sound; leave it out`);
  }

  /** Its size counts from when it is known, as long as it is kept. */
  #unpack(key: string, cells: Promise<(Uint8Array | null)[]>): Kept {
    const count = (all: readonly (Uint8Array | null)[]): void => {
      if (this.#kept.get(key) !== kept) return;
      kept.size = all.reduce((sum, cell) => sum + (cell?.length ?? 0), 0);
      this.#keptSize += kept.size;
    };
    const kept: Kept = { cells, size: 0 };
    cells.then(count, () => this.#kept.delete(key));
    return kept;
  }
}

/** The file and the row, from 1, of a sound inside one. */
function cellOf(audio: string): { path: string; row: number } | undefined {
  const [, path, row] = /^(.*\.parquet)#(\d+)$/.exec(audio) ?? [];
  return path === undefined ? undefined : { path, row: Number(row) };
}

/** @param row from 1 */
function blockAt(blocks: readonly Block[], row: number): Block {
  let [low, high] = [0, blocks.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (blocks[middle]!.start < row) low = middle;
    else high = middle - 1;
  }
  return blocks[low]!;
}
