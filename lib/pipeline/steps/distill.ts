/** The teacher's translations of a split, for training on them: one step of the method by itself. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import {
  CompressionError,
  references,
  selectTargets,
  translateSplit,
  type DistilledTargets,
} from '../../compress';
import type { Utterance } from '../../data';
import { checkWritable, fileError, writeFileAtomic } from '../../files';
import { Features } from '../../train/examples';
import { progressOf, type RunOptions } from '../context';
import { takeDevice } from '../device';
import { openModel } from '../models';
import { checkpointFolder, type HubSource } from './checkpoint';
import { openDataset, type DatasetOptions } from './dataset';

/** What the teacher translates, and which of it is kept. */
export interface DistillOptions extends DatasetOptions, HubSource, Pick<RunOptions, 'device'> {
  /** Lowest sentence chrF against the reference; 0 keeps all. */
  minChrf?: number;
  maxNewTokens: number;
  batchSize: number;
}

const fileSchema = z.object({
  split: z.string(),
  ids: z.array(z.string()),
  /** By language: a text for each id, null where none was worth keeping. */
  texts: z.record(z.string(), z.array(z.string().nullable())),
});

/**
 * Has a teacher translate a split and writes what is worth training on as one JSON file.
 * @param teacher a folder, or `owner/name[@revision]` on the Hugging Face hub
 * @returns what was kept and dropped, by language
 * @throws PareError of the room that failed
 */
export async function distillCorpus(
  teacher: string,
  output: string,
  options: DistillOptions,
): Promise<Record<string, DistilledTargets['counts']>> {
  await takeDevice(options);
  checkWritable(output);
  const { corpus, utterances, languages } = await openDataset(options);
  const { signal, maxNewTokens, batchSize, minChrf } = options;
  const dir = await checkpointFolder(teacher, options);
  using opened = openModel(dir, { device: options.device });
  const { model, processor } = opened;
  const onProgress = progressOf({ options }, 'reading audio');
  const features = new Features(corpus, processor, { onProgress, signal });
  const texts: Record<string, (string | null)[]> = {};
  const counts: Record<string, DistilledTargets['counts']> = {};
  for (const language of languages) {
    const translated = await translateSplit(model, features, utterances, language, {
      ...{ maxNewTokens, batchSize, signal },
      onProgress: progressOf({ options }, `translating into ${language}`),
    });
    const kept = selectTargets(translated, references(utterances, language), { minChrf });
    texts[language] = kept.texts.map((text) => text ?? null);
    counts[language] = kept.counts;
  }
  const content = { split: options.split, ids: utterances.map(({ id }) => id), texts, counts };
  writeFileAtomic(output, `${JSON.stringify(content)}\n`);
  return counts;
}

/**
 * Reads what {@link distillCorpus} wrote, for the utterances given.
 * @param split that they are of; two splits may call their utterances the same
 * @throws CompressionError if the file holds something else, or nothing of these utterances
 */
export function readTeacherTexts(
  path: string,
  utterances: readonly Utterance[],
  split?: string,
): Record<string, (string | undefined)[]> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('read', path, error);
  }
  const parsed = fileSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    throw new CompressionError(`${path} holds no translations of a teacher; make it: pare distill`);
  }
  const { ids, texts } = parsed.data;
  const rows = new Map(ids.map((id, i) => [id, i]));
  const isOther = split !== undefined && split !== parsed.data.split;
  if (isOther || !utterances.some(({ id }) => rows.has(id))) {
    throw new CompressionError(
      `${path} has translations of the split '${parsed.data.split}', none of these utterances`,
    );
  }
  return Object.fromEntries(
    Object.entries(texts).map(([language, all]) => [
      language,
      utterances.map(({ id }) => all[rows.get(id) ?? -1] ?? undefined),
    ]),
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
