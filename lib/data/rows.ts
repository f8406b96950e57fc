/** From rows of a manifest or table to utterances. */
import { PareError } from '../errors';
import { valueAt, type Columns } from './columns';
import type { ReadOptions, Utterance } from './corpus';
import { CorpusError } from './error';

/** Where a row's sound is, and how long it is if no column says so. */
export interface Sound {
  audio: string;
  /** Reads it; called if the row does not say it. */
  seconds: () => Promise<number>;
}

/** Gathers the utterances of a split. */
export class RowReader {
  readonly utterances: Utterance[] = [];
  readonly #rowOf = new Map<string, string>();
  /** Speakers and groups repeat: one string each. */
  readonly #names = new Map<string, string>();

  constructor(
    readonly split: string,
    readonly options: ReadOptions,
  ) {}

  /**
   * @param number of the row in its split, from 1
   * @param where names file and row
   * @throws CorpusError for a row that cannot be used, unless somebody hears of it
   */
  async add(
    row: Record<string, unknown>,
    columns: Columns,
    number: number,
    where: string,
    find: (audio: unknown) => Sound,
  ): Promise<void> {
    const { signal, onProblem } = this.options;
    signal?.throwIfAborted();
    try {
      this.utterances.push(await this.#read(row, columns, number, where, find));
    } catch (error) {
      if (onProblem === undefined || !(error instanceof PareError)) throw error;
      onProblem(error);
    }
  }

  async #read(
    row: Record<string, unknown>,
    columns: Columns,
    number: number,
    where: string,
    find: (audio: unknown) => Sound,
  ): Promise<Utterance> {
    const translations: Record<string, string> = {};
    for (const [language, path] of columns.translations) {
      translations[language] = text(row, path, where);
    }
    const told = columns.id === undefined ? undefined : text(row, columns.id, where);
    const sound = find(valueAt(row, columns.audio));
    const seconds = columns.seconds && secondsAt(row, columns.seconds, where);
    const speaker = this.#name(row, columns.speaker);
    const group = this.#name(row, columns.group);
    if (told !== undefined) {
      const before = this.#rowOf.get(told);
      if (before !== undefined) {
        throw new CorpusError(`${where}: id '${told}' was used in ${before} already`);
      }
      this.#rowOf.set(told, where);
    }
    return {
      id: `${this.split}/${told ?? number}`,
      audio: sound.audio,
      seconds: seconds ?? (await sound.seconds()),
      speaker,
      text: text(row, columns.text, where),
      translations,
      group,
    };
  }

  #name(row: Record<string, unknown>, path: string[] | undefined): string | undefined {
    const value = path === undefined ? undefined : valueAt(row, path);
    if (value === undefined || value === '') return undefined;
    const name = String(value as string | number | bigint);
    const known = this.#names.get(name);
    if (known === undefined) this.#names.set(name, name);
    return known ?? name;
  }
}

function secondsAt(
  row: Record<string, unknown>,
  path: readonly string[],
  where: string,
): number | undefined {
  const value = valueAt(row, path);
  if (value === undefined || value === '') return undefined;
  const seconds = Number(value);
  if (seconds >= 0 && Number.isFinite(seconds)) return seconds;
  throw new CorpusError(`${where}: ${path.join('.')} is '${String(value)}', no number of seconds`);
}

/** The same text by itself: as a part of a line it would keep the whole line in memory. */
function detached(part: string): string {
  return Buffer.from(part, 'utf8').toString('utf8');
}

function text(row: Record<string, unknown>, path: readonly string[], where: string): string {
  const value = valueAt(row, path);
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (typeof value === 'string' && value.trim() !== '') return detached(value.trim());
  throw new CorpusError(
    typeof value === 'string' || value === undefined
      ? `${where}: ${path.join('.')} is empty; write it, or leave the row out`
      : `${where}: ${path.join('.')} is no text`,
  );
}
