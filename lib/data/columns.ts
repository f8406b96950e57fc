/** Which column of a manifest or table is what: told, or by the names that are customary. */
import { nearName } from '../near-name';
import { CorpusError } from './error';

/** Columns by their names; a part of one is named with a dot, such as `translation.de`. */
export interface ColumnNames {
  audio?: string;
  /** What is said. */
  text?: string;
  seconds?: string;
  speaker?: string;
  /** What must lie whole in one split, such as a talk. */
  group?: string;
  /** Unique in a split; without it utterances are numbered. */
  id?: string;
  /** The split, where all are in one file. */
  split?: string;
  /** By target language. */
  translations?: Record<string, string>;
}

/** A column that is there. */
export interface Column {
  name: string;
  /** Its parts, if it has any. */
  parts: readonly string[];
}

/** Paths into a row. */
export interface Columns {
  audio: string[];
  text: string[];
  seconds?: string[];
  speaker?: string[];
  group?: string[];
  id?: string[];
  split?: string[];
  translations: Map<string, string[]>;
  /** Code of the language that is spoken. */
  source: string;
}

/** What files or configurations are called after, such as `en_de`. */
export interface LanguagePair {
  source: string;
  target: string;
}

const customary = {
  audio: ['audio', 'file_name', 'audio_filepath', 'path', 'wav', 'file'],
  text: ['text', 'sentence', 'transcription', 'transcript', 'normalized_text'],
  seconds: ['seconds', 'duration'],
  speaker: ['speaker', 'speaker_id', 'client_id'],
  group: ['group', 'talk_id'],
} as const;

/** `en_de`, `en_zh-CN` in a name; undefined if there is none. */
export function languagePairIn(name: string): LanguagePair | undefined {
  const found = /(?:^|[^A-Za-z])([a-z]{2})_([a-z]{2})(?:-[A-Z]{2})?(?![A-Za-z])/.exec(name);
  return found === null ? undefined : { source: found[1]!, target: found[2]! };
}

/**
 * Finds the columns of a corpus among those that are there.
 * @param where what an error calls the file
 * @throws CorpusError naming what is missing and the nearest name
 */
export function findColumns(
  there: readonly Column[],
  names: ColumnNames,
  pair: LanguagePair | undefined,
  where: string,
): Columns {
  const all = there.flatMap(({ name, parts }) => [name, ...parts.map((part) => `${name}.${part}`)]);
  const list = there.map(({ name }) => name).join(', ');
  const find = (key: Exclude<keyof ColumnNames, 'translations'>, more: readonly string[] = []) => {
    const told = names[key];
    if (told !== undefined) return known(told, key);
    const usual = [...(key in customary ? customary[key as keyof typeof customary] : []), ...more];
    return usual.find((name) => all.includes(name))?.split('.');
  };
  const known = (name: string, key: string): string[] => {
    if (all.includes(name)) return name.split('.');
    const near = nearName(name, all);
    throw new CorpusError(
      `${where} has no column '${name}' for columns.${key}; ` +
        (near === undefined ? `it has ${list}` : `is it ${near}?`),
    );
  };
  const required = (key: 'audio' | 'text', path: string[] | undefined): string[] => {
    if (path !== undefined) return path;
    const near = customary[key].flatMap((name) => nearName(name, all) ?? [])[0];
    throw new CorpusError(
      `${where} has no column for ${key} (${customary[key].join(', ')}); it has ${list}: ` +
        `say which with columns.${key} (--columns ${key}=NAME)${near === undefined ? '' : `, perhaps ${near}`}`,
    );
  };
  const source = pair?.source ?? 'en';
  const structs = there.filter(({ name }) => name === 'translation' || name === 'translations');
  const parts = structs.map(({ name }) => `${name}.${source}`);
  const optional = (['seconds', 'speaker', 'group', 'id', 'split'] as const).flatMap((key) => {
    const path = find(key, key === 'split' ? ['split'] : []);
    return path === undefined ? [] : [[key, path] as const];
  });
  return {
    ...Object.fromEntries(optional),
    audio: required('audio', find('audio')),
    text: required('text', find('text', parts)),
    translations: translationsOf(there, names, pair, { known, source, where, list }),
    source,
  };
}

function translationsOf(
  there: readonly Column[],
  names: ColumnNames,
  pair: LanguagePair | undefined,
  about: {
    known: (name: string, key: string) => string[];
    source: string;
    where: string;
    list: string;
  },
): Map<string, string[]> {
  const { known, source, where, list } = about;
  const found = new Map<string, string[]>();
  if (names.translations !== undefined) {
    for (const [language, name] of Object.entries(names.translations)) {
      found.set(language, known(name, `translations.${language}`));
    }
    return found;
  }
  for (const { name, parts } of there) {
    const [, code] = /^translations?_([a-z]{2})(?:[-_][A-Za-z]+)?$/.exec(name) ?? [];
    if (code !== undefined) found.set(code, [name]);
    if (name !== 'translation' && name !== 'translations') continue;
    for (const part of parts) {
      const language = part.replace(/[-_].*$/, '');
      if (language !== source) found.set(language, [name, part]);
    }
    if (parts.length === 0 && pair !== undefined) found.set(pair.target, [name]);
  }
  if (found.size > 0) return found;
  throw new CorpusError(
    `${where}: which column holds the translations into which language? It has ${list}: ` +
      'say it with columns.translations, such as { de: translation } (--columns de=translation)',
  );
}

/** A value of a row; undefined where a part of the way is missing. */
export function valueAt(row: Record<string, unknown>, path: readonly string[]): unknown {
  let value: unknown = row;
  for (const part of path) value = (value as Record<string, unknown> | null | undefined)?.[part];
  return value ?? undefined;
}
