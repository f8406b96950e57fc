/** What a run needs before its first stage: the corpus, and a recipe that can be followed. */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { checkEmbeddings, checkSkipped, CompressionError } from '../compress';
import { checkDisjoint, CorpusError, openCorpus, type Corpus, type Utterance } from '../data';
import { named } from '../errors';
import { fileError } from '../files';
import { checkTargets, LoraError } from '../lora';
import { readConfig, skeleton } from '../qwen2-audio';
import { leaderFirst, leads } from '../ranks';
import { checkLayers } from './check-layers';
import { progressOf, type Context, type RunOptions } from './context';
import { corpusSource } from './corpus-source';
import { ensureDemoCorpus } from './demo-corpus';
import { readExtraCorpora, withExtra } from './extra-corpora';
import { RecipeError } from './recipe';
import type { Recipe } from './recipe-schema';
import { hashOf, type RunFolder } from './run-folder';

/**
 * Opens the corpus, makes the demo's if it is asked for, and holds the recipe against corpus and
 * teacher.
 * @throws RecipeError, CompressionError, LoraError naming the recipe; CorpusError, FileError
 */
export async function prepare(
  file: string,
  recipe: Recipe,
  folder: RunFolder,
  options: RunOptions,
): Promise<Context> {
  const { corpus: settings } = recipe;
  const { ranks, signal } = options;
  const onProgress = progressOf({ options }, 'corpus');
  // Before a corpus is made or fetched, which takes minutes.
  inRecipe(file, () => checkModels(recipe));
  const source = corpusSource(settings);
  if (settings.demo !== undefined && leads(ranks)) {
    await ensureDemoCorpus(source.path!, { ...settings.demo, onProgress, signal });
  }
  const names = [settings.train, settings.dev, ...settings.test];
  // What is fetched or indexed is so once.
  const corpus = await leaderFirst(ranks, () =>
    openCorpus(source, { splits: names, onProgress, signal }),
  );
  inRecipe(file, () => checkCorpus(recipe, corpus));
  const splits = await readSplits(recipe, corpus, signal);
  const audio = Object.values(splits).flatMap((split) => corpus.audioFiles(split));
  const corpusHash = hashOf([corpus.description, splits, audio.map(fingerprint)]);
  const context = { recipe, folder, corpus, corpusHash, splits, options };
  const held = [settings.dev, ...settings.test].map((split) => splits[split]!);
  const extra = await readExtraCorpora(recipe, held, { onProgress, signal });
  if (extra === undefined) return context;
  // Where the sounds lie is not what is learnt from them.
  const prints = new Map<string, string>();
  const printOf = (path: string): string => {
    const known = prints.get(path) ?? fingerprint(path);
    prints.set(path, known);
    return known;
  };
  const content = extra.utterances.map((u) => {
    return [{ ...u, audio: '' }, printOf(extra.corpusOf.get(u)!.audioFiles([u])[0]!)];
  });
  return {
    ...context,
    corpus: withExtra(corpus, extra),
    extra,
    extraHash: hashOf(content),
  };
}

/** What is wrong with a recipe is told with its file. */
function inRecipe(file: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    const kinds = [RecipeError, CompressionError, LoraError];
    throw kinds.some((kind) => error instanceof kind) ? named(file, error) : error;
  }
}

function checkCorpus({ corpus: { train, dev, test }, languages }: Recipe, corpus: Corpus): void {
  if (new Set([train, dev, ...test]).size !== test.length + 2) {
    throw new RecipeError('corpus: train, dev and test must be different splits; name others');
  }
  const { targets } = corpus.description.languages;
  const missing = languages.find((language) => !targets.includes(language));
  if (missing !== undefined) {
    throw new RecipeError(
      `languages: ${corpus.dir} has no translations into ${missing}; it has ${targets.join(', ')}`,
    );
  }
}

/** What the recipe says of layers and modules, held against the teacher before any work. */
function checkModels(recipe: Recipe): void {
  const { output, teacher, importance, quantize, distill } = recipe;
  const { checkpoint, random, train } = teacher;
  if (checkpoint !== undefined && !relative(resolve(output), checkpoint).startsWith('..')) {
    throw new RecipeError(
      `teacher.checkpoint: ${checkpoint} lies in the output of this very recipe; ` +
        'choose another output',
    );
  }
  if (checkpoint !== undefined && !existsSync(checkpoint)) {
    throw new RecipeError(
      `teacher.checkpoint: ${checkpoint} is not there; paths are taken from the recipe's folder`,
    );
  }
  const config = checkpoint === undefined ? undefined : readConfig(checkpoint);
  const decoderLayers = random?.text.num_hidden_layers ?? config!.text.numHiddenLayers;
  const encoderLayers = random?.audio.encoder_layers ?? config!.audio.encoderLayers;
  checkLayers(recipe, decoderLayers);
  const left = (layers: number): ReturnType<typeof skeleton> => skeleton(encoderLayers, layers);
  using whole = left(decoderLayers);
  if (train?.lora !== undefined) checkTargets(whole, train.lora);
  using pruned = left(decoderLayers - (importance?.remove ?? 0));
  if (quantize !== undefined) {
    checkSkipped(pruned, quantize.skip);
    const hiddenSize = random?.text.hidden_size ?? config!.text.hiddenSize;
    if (quantize.embeddings) checkEmbeddings(hiddenSize, quantize.blockSize);
  }
  if (distill !== undefined) checkTargets(pruned, distill.lora);
}

async function readSplits(
  { corpus: settings }: Recipe,
  corpus: Corpus,
  signal: AbortSignal | undefined,
): Promise<Record<string, Utterance[]>> {
  const splits: Record<string, Utterance[]> = {};
  for (const name of [settings.train, settings.dev, ...settings.test]) {
    const utterances = await corpus.read(name, { signal });
    if (utterances.length === 0) {
      throw new CorpusError(
        `${corpus.dir}: the split '${name}' has no utterance; the recipe uses it`,
      );
    }
    splits[name] = utterances;
  }
  checkDisjoint(splits, settings.test);
  return splits;
}

/**
 * Tells one sound file from another: its size, and its first and last part. All of a corpus would
 * take minutes to read; times of files change when a corpus is copied.
 */
function fingerprint(path: string): string {
  const part = Buffer.alloc(4096);
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    const { size } = fstatSync(file);
    const first = part.subarray(0, readSync(file, part, 0, part.length, 0));
    const head = first.toString('latin1');
    const last = readSync(file, part, 0, part.length, Math.max(0, size - part.length));
    return hashOf([size, head, part.toString('latin1', 0, last)]);
  } catch (error) {
    throw fileError('read', path, error);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
