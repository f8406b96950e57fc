/** A random model, its processor and a corpus of tones with their features, in a folder. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomModel, trainTokenizer, translateSplit } from '../../lib/compress';
import { openCorpus, type Corpus, type Utterance } from '../../lib/data';
import { Processor, type Qwen2Audio } from '../../lib/qwen2-audio';
import { Tokenizer } from '../../lib/text';
import { Features } from '../../lib/train/examples';
import { tinyCorpus } from '../pipeline/tiny-corpus';
import { tinyShape } from '../pipeline/tiny-recipe';

export const languages: readonly string[] = ['de', 'zh'];

export interface TinyTask {
  /** A folder for the test's files. */
  dir: string;
  corpus: Corpus;
  splits: Record<'train' | 'dev' | 'test', Utterance[]>;
  processor: Processor;
  features: Features;
  /** The weights are large, so that the most likely token does not hang on rounding. */
  newModel(decoderLayers: number, seed?: number): Qwen2Audio;
  dispose(): void;
}

export async function tinyTask(): Promise<TinyTask> {
  const dir = mkdtempSync(join(tmpdir(), 'pare-compress-'));
  const splits = tinyCorpus(join(dir, 'corpus'));
  const corpus = await openCorpus(join(dir, 'corpus'));
  const tokenizer = join(dir, 'tokenizer');
  mkdirSync(tokenizer);
  trainTokenizer(tokenizer, splits.train, languages, tinyShape.vocabSize);
  const processor = new Processor({
    tokenizer: Tokenizer.fromPretrained(tokenizer),
    maxSourcePositions: 50,
  });
  const features = new Features(corpus, processor);
  await features.load([...splits.train, ...splits.dev, ...splits.test]);
  const newModel = (decoderLayers: number, seed: number = 5): Qwen2Audio => {
    const shape = tinyShape as unknown as Parameters<typeof randomModel>[0];
    const text = { ...shape.text, num_hidden_layers: decoderLayers, initializer_range: 0.25 };
    return randomModel({ ...shape, text }, processor, seed).eval();
  };
  const dispose = (): void => rmSync(dir, { recursive: true, force: true });
  return { dir, corpus, splits, processor, features, newModel, dispose };
}

/**
 * The utterances with the model's own answers as references: the full model scores 100 and each
 * candidate differs, without any training.
 */
export async function withOwnAnswers(
  model: Qwen2Audio,
  features: Features,
  utterances: readonly Utterance[],
  maxNewTokens: number,
): Promise<Utterance[]> {
  const result = utterances.map((utterance) => ({
    ...utterance,
    translations: {} as Record<string, string>,
  }));
  for (const language of languages) {
    const { texts } = await translateSplit(model, features, utterances, language, {
      maxNewTokens,
      batchSize: 4,
    });
    for (const [i, text] of texts.entries()) result[i]!.translations[language] = text;
  }
  return result;
}
