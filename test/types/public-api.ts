/**
 * The public API as a program sees it, with right and wrong types. Compiled and never run: by
 * `npm run typecheck` against lib/, and by test/package against the packed package, with each way in
 * which TypeScript finds it. What is said to be an error must be one.
 */
// @ts-expect-error: there is no such export
import { loadModels } from 'pare';
import {
  account,
  loadModel,
  PareError,
  pruneCheckpoint,
  runRecipe,
  SpeechTranslator,
  torch,
  WorkerTranslator,
  type Accounting,
  type RunResult,
  type SpeechInput,
  type Translation,
} from 'pare';
import { AudioError, loadAudio } from 'pare/audio';
import { searchLayers } from 'pare/compress';
import { openCorpus } from 'pare/data';
import { fetchSnapshot } from 'pare/hub';
import { loraScale, type LoraConfig } from 'pare/lora';
import { chrf, createMetric, type BleuResult, type Metric } from 'pare/metrics';
import { Linear4bit, quantizeNf4 } from 'pare/nf4';
import { parseRecipe, type Recipe } from 'pare/pipeline';
import { Processor, Qwen2Audio } from 'pare/qwen2-audio';
import { renderReport } from 'pare/report';
import { Tokenizer } from 'pare/text';
import { scope, tensor, type DType, type Tensor } from 'pare/torch';
import { scheduleFactor } from 'pare/train';

/** Compiles only if the two types are the same. */
type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<Expected>() {
  return <Actual>(
    _value: Actual,
    ..._mismatch: Same<Actual, Expected> extends true ? [] : [never]
  ): void => {};
}

export async function translating(): Promise<void> {
  const translator = await SpeechTranslator.load('checkpoint', {
    device: 'cpu',
    dtype: 'bfloat16',
  });
  // @ts-expect-error: a misspelt option
  await SpeechTranslator.load('checkpoint', { quantisation: 'nf4' });
  // @ts-expect-error: nf4 is all there is
  await SpeechTranslator.load('checkpoint', { quantization: 'int8' });
  // @ts-expect-error: the constructor takes a model and a processor
  new SpeechTranslator('checkpoint');

  const translation = await translator.translate('talk.wav', { to: 'German', maxNewTokens: 9 });
  expectType<string>()(translation.text);
  expectType<number[]>()(translation.tokenIds);
  const simple: Translation = translation;
  // @ts-expect-error: one has no times of segments unless it is a recording's
  void simple.segments;
  // @ts-expect-error: how many, not as a string
  await translator.translate('talk.wav', { to: 'German', maxNewTokens: '9' });
  // @ts-expect-error: a number is no audio
  await translator.translate(16000, { to: 'German' });
  const inputs: SpeechInput[] = ['a.wav', new Uint8Array(9), new Float32Array(9)];
  inputs.push({ samples: new Float32Array(9), sampleRate: 8000 });
  // @ts-expect-error: without its rate
  inputs.push({ samples: new Float32Array(9) });

  for await (const piece of translator.stream('talk.wav', { to: 'de' })) {
    expectType<string>()(piece);
  }
  for await (const { index, translation, error } of translator.translateEach(inputs, {})) {
    expectType<number>()(index);
    if (translation) expectType<undefined>()(error);
    // @ts-expect-error: undefined where it failed
    else void translation.text;
  }
  translator.dispose();

  const worker = await WorkerTranslator.load('checkpoint');
  const either: Pick<SpeechTranslator, 'translate' | 'stream'>[] = [translator, worker];
  void either;
  // @ts-expect-error: the model is in another thread
  void worker.model;
}

export function tensors(): number[] {
  const made = scope(() => tensor([[1, 2]], { dtype: 'float32' }).matmul(torch.ones([2, 1])));
  expectType<Tensor>()(made);
  expectType<torch.Tensor>()(made);
  expectType<DType>()(made.dtype);
  // @ts-expect-error: no such dtype
  tensor([1], { dtype: 'float' });
  // @ts-expect-error: text is no tensor
  tensor('1');
  // @ts-expect-error: a product needs a tensor
  made.matmul(2);
  // @ts-expect-error: ids of the addon are not public
  made.id = 3;
  const { packed, quantState } = quantizeNf4(made, { blockSize: 64 });
  expectType<Tensor>()(packed);
  void quantState;
  // @ts-expect-error: not a size of blocks
  quantizeNf4(made, { blockSize: 63 });
  const layers: torch.nn.Module[] = [new torch.nn.Linear(2, 2)];
  // @ts-expect-error: a tensor is no module
  layers.push(made);
  void Linear4bit;
  return made.toArray();
}

export function scoring(): void {
  const bleu = createMetric('bleu', { tokenize: 'zh' });
  expectType<Metric<BleuResult>>()(bleu);
  // @ts-expect-error: no metric has this name
  createMetric('comet');
  // @ts-expect-error: nor BLEU this option
  createMetric('bleu', { wordOrder: 2 });
  expectType<number>()(chrf(['ein Satz'], ['ein Satz']).score);
  // @ts-expect-error: the hypotheses are a list
  chrf('ein Satz', ['ein Satz']);
}

export async function compressing(): Promise<RunResult> {
  const accounting = account('checkpoint');
  expectType<Accounting>()(accounting);
  expectType<number>()(accounting.bytes);
  await pruneCheckpoint('checkpoint', [3, 5], 'smaller');
  // @ts-expect-error: layers are numbers
  await pruneCheckpoint('checkpoint', ['3'], 'smaller');
  const lora: LoraConfig = { r: 64, loraAlpha: 128, useRslora: true };
  expectType<number>()(loraScale(lora));
  // @ts-expect-error: alpha is missing
  const incomplete: LoraConfig = { r: 64 };
  void [incomplete, searchLayers, scheduleFactor, fetchSnapshot, renderReport, Tokenizer];
  const recipe: Recipe = parseRecipe('teacher: …', 'recipe.yaml');
  // @ts-expect-error: no stage has this name
  void recipe.quantise;
  const model = loadModel('checkpoint');
  expectType<Qwen2Audio>()(model);
  void Processor;
  return runRecipe('recipe.yaml', {
    onStage: (name, { seconds }) => console.log(name.toUpperCase(), seconds.toFixed(1)),
    // @ts-expect-error: it hears an object
    onProgress: (done: number) => console.log(done),
  });
}

export async function failing(): Promise<void> {
  try {
    await loadAudio('talk.wav');
    // @ts-expect-error: the folder is missing
    await openCorpus();
  } catch (error) {
    const known: PareError | undefined = error instanceof AudioError ? error : undefined;
    console.log(known?.message);
  }
}

void loadModels;
