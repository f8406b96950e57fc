/** Scores of one model on the test splits; each model's test is run once. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { evaluateModel, type Evaluation } from '../../compress';
import { writeFileAtomic } from '../../files';
import { leads } from '../../ranks';
import { progressOf, runStage, type Context } from '../context';
import { openModel, type FeatureCache } from '../models';
import type { Artifact } from '../run-folder';
import type { Source } from './compress';

/** By test split, one evaluation a language. */
export type Evaluations = Record<string, Evaluation[]>;

const file = 'evaluation.json';

/** Raised when the file changes its form, so that an older one is not taken. */
const format = 2;

/** @param name of the model, in the run folder and in progress */
export async function evaluateStage(
  context: Context,
  features: FeatureCache,
  name: string,
  source: Source,
): Promise<{ artifact: Artifact; result: Evaluations }> {
  const { recipe, corpusHash } = context;
  const { generation, languages, corpus, evaluate } = recipe;
  const inputs = {
    format,
    generation,
    languages,
    test: corpus.test,
    evaluate,
    corpusHash,
    source: source.hash,
  };
  const make = async (target: string): Promise<void> => {
    using opened = openModel(source.model, { device: context.options.device });
    const { model, processor } = opened;
    const result: Evaluations = {};
    for (const split of corpus.test) {
      const utterances = context.splits[split]!;
      const evaluations: Evaluation[] = [];
      for (const language of languages) {
        const options = {
          ...generation,
          ...evaluate,
          signal: context.options.signal,
          ranks: context.options.ranks,
          onProgress: progressOf(context, `evaluating ${name} on ${split} (${language})`),
        };
        const heard = features.for(processor);
        evaluations.push(...(await evaluateModel(model, heard, utterances, [language], options)));
      }
      result[split] = evaluations;
    }
    if (!leads(context.options.ranks)) return;
    writeFileAtomic(join(target, file), `${JSON.stringify(result)}\n`);
  };
  const artifact = await runStage(context, `evaluation-${name}`, inputs, make);
  const text = readFileSync(join(artifact.dir, file), 'utf8');
  return { artifact, result: JSON.parse(text) as Evaluations };
}
