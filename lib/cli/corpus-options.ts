/** How commands name a corpus. */
import { InvalidArgumentError, Option } from 'commander';
import type { ColumnNames, CorpusSource } from '../data';

export interface CorpusOptions {
  corpus: string;
  columns?: ColumnNames;
}

export const corpusForms =
  'corpus folder, or a dataset on the hub (owner/name[@revision][:config])';

export function columnsOption(): Option {
  return new Option(
    '--columns <key=name,…>',
    'its columns, where they have other names than usual: text=sentence,de=translation',
  ).argParser(columnNames);
}

const keys = ['audio', 'text', 'seconds', 'speaker', 'group', 'id', 'split'] as const;

/** For commander: `text=sentence,de=translation`; a language stands for its translations. */
function columnNames(text: string): ColumnNames {
  const names: ColumnNames = {};
  for (const part of text.split(',')) {
    const [, key, name] = /^([^=]+)=(.+)$/.exec(part.trim()) ?? [];
    if (key === undefined) {
      throw new InvalidArgumentError(`'${part}' names no column; give text=sentence.`);
    }
    const known = keys.find((one) => one === key);
    if (known !== undefined) names[known] = name!;
    else if (/^[a-z]{2,3}$/.test(key)) names.translations = { ...names.translations, [key]: name! };
    else throw new InvalidArgumentError(`'${key}' is none of ${keys.join(', ')}, and no language.`);
  }
  return names;
}

/** What `openCorpus` takes. */
export async function corpusOf({ corpus, columns }: CorpusOptions): Promise<string | CorpusSource> {
  if (columns === undefined) return corpus;
  const { findSource } = await import('../data');
  return { ...findSource(corpus), columns };
}
