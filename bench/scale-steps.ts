/** What scale.ts measures; each step runs in a process of its own. */
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { loadQuantized } from '../lib/compress/load-quantized';
import { pruneCheckpoint } from '../lib/compress/prune-checkpoint';
import { quantizeCheckpoint } from '../lib/compress/quantize-checkpoint';
import { attachLora } from '../lib/lora';
import {
  audioTokenCount,
  collate,
  encodeAudio,
  generate,
  loadModel,
  Processor,
  readConfig,
  translationInstruction,
  type Qwen2Audio,
} from '../lib/qwen2-audio';
import { synthesizeCheckpoint } from '../lib/qwen2-audio/synthesize';
import { SpeechTranslator } from '../lib/qwen2-audio/translator';
import { WorkerTranslator } from '../lib/qwen2-audio/worker-translator';
import { backward, Generator, memory, noGrad, optim, scope } from '../lib/torch';

/** Numbers of a step beside those that the kernel tells, by what they are. */
export type Findings = Record<string, number | string>;

export interface Step {
  title: string;
  /** Memory that must be free before, in GB at the large shape. */
  needs: number;
  /** The folder that it writes, if that stays. */
  makes?: string;
  /** Folders whose files are to be out of the page cache before, or in it. */
  cold?: string;
  warm?: string;
  run(folder: string, shape: string): Promise<Findings>;
}

const seconds = (since: number): number => (performance.now() - since) / 1000;
const round = (value: number, digits: number = 2): number => Number(value.toFixed(digits));

/** A sound that is neither silence nor a single tone. */
function sound(duration: number, pitch: number): Float32Array {
  return Float32Array.from({ length: Math.round(duration * 16000) }, (_, i) => {
    const t = i / 16000;
    return 0.4 * Math.sin(2 * Math.PI * pitch * (1 + 0.1 * Math.sin(t)) * t) * Math.sin(9 * t) ** 2;
  });
}

/** The longest sound that a model takes, or this long. */
function length(model: Qwen2Audio, duration: number): number {
  return Math.min(duration, model.config.audio.maxSourcePositions / 50);
}

/** How late a timer of 50 ms is at worst while `work` runs. */
async function withTimer<T>(work: () => Promise<T>): Promise<{ result: T; latest: number }> {
  let latest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    latest = Math.max(latest, now - last - 50);
    last = now;
  }, 50);
  try {
    const result = await work();
    // What is overdue is counted, too.
    latest = Math.max(latest, performance.now() - last - 50);
    return { result, latest: latest / 1000 };
  } finally {
    clearInterval(timer);
  }
}

/** Wall time and the processors' time, in seconds. */
interface Time {
  wall: number;
  processor: number;
}

function now(): Time {
  const { user, system } = process.cpuUsage();
  return { wall: performance.now() / 1000, processor: (user + system) / 1e6 };
}

function between(from: Time, to: Time, divisor: number = 1): Time {
  const part = (key: keyof Time): number => round((to[key] - from[key]) / divisor);
  return { wall: part('wall'), processor: part('processor') };
}

/** When each run of lm_head ended: one a token. */
function tokenTimes(model: Qwen2Audio): Time[] {
  const { lmHead } = model.languageModel;
  const forward = lmHead.forward.bind(lmHead);
  const times: Time[] = [];
  lmHead.forward = (x) => {
    const result = forward(x);
    times.push(now());
    return result;
  };
  return times;
}

const newTokens = 24;

async function translate(folder: string, batchSize: number): Promise<Findings> {
  const loading = performance.now();
  using translator = await SpeechTranslator.load(join(folder, 'nf4'));
  const loaded = seconds(loading);
  const { model } = translator;
  const audios = Array.from({ length: batchSize }, (_, i) =>
    sound(length(model, 10), 200 + 90 * i),
  );
  const request = { to: 'German', batchSize };
  const times = tokenTimes(model);
  const run = async (maxNewTokens: number): Promise<Findings> => {
    times.length = 0;
    const started = now();
    const { latest } = await withTimer(() =>
      translator.translateBatch(audios, { ...request, maxNewTokens }),
    );
    const first = between(started, times[0]!);
    const token = between(times[0]!, times.at(-1)!, batchSize * (times.length - 1));
    return {
      'first token, s': first.wall,
      'first token, processor s': first.processor,
      'tokens/s': round(1 / token.wall),
      'processor s/token': token.processor,
      'timer late, s': round(latest),
    };
  };
  // The first run reads the weights from disk and compiles oneDNN's kernels.
  const first = await run(2);
  const second = await run(newTokens);
  return {
    'load, s': round(loaded),
    'first token of the first run, s': first['first token, s']!,
    ...second,
  };
}

/** A recording in a worker thread: the first piece of text, all of it, and this thread's timer. */
async function translateInWorker(folder: string, duration: number): Promise<Findings> {
  const dir = join(folder, 'nf4');
  const { audio } = readConfig(dir);
  const window = audio.maxSourcePositions / 50;
  await using translator = await WorkerTranslator.load(dir);
  const request = { to: 'German', maxNewTokens: newTokens };
  // Reads the weights and compiles oneDNN's kernels.
  await translator.translate(sound(Math.min(duration, window), 220), {
    ...request,
    maxNewTokens: 2,
  });
  const recording = sound((duration * window) / 30, 200);
  let first = 0;
  const started = performance.now();
  const { result, latest } = await withTimer(async () => {
    const onSegment = (): void => void (first ||= seconds(started));
    return translator.translate(recording, { ...request, batchSize: 1, onSegment });
  });
  const { segments, tokenIds } = result;
  return {
    'seconds of the recording': round(result.duration),
    segments: segments.length,
    tokens: tokenIds.length,
    'first segment certain, s': round(first),
    'all, s': round(seconds(started)),
    'timer late, s': round(latest, 3),
  };
}

async function qlora(folder: string): Promise<Findings> {
  const dir = join(folder, 'nf4');
  using model = loadModel(dir);
  const processor = Processor.fromPretrained(dir, model.config);
  const mel = processor.logMel(sound(length(model, 30), 220));
  const audioTokens = audioTokenCount(mel.frames);
  const instruction = translationInstruction('German');
  const ask = (words: number): ReturnType<typeof processor.tokenize> =>
    processor.tokenize({ instruction, target: Array(words).fill('the').join(' ') }, audioTokens);
  let words = 1;
  while (ask(words).inputIds.length < audioTokens + 60) words++;
  const example = { ...ask(words), mel };
  const lora = { r: 64, loraAlpha: 128, useRslora: true };
  const adapter = attachLora(model, lora, { generator: new Generator(1) });
  const parameters = adapter.parameters();
  const optimizer = new optim.AdamW8bit([{ parameters, weightDecay: 0 }]);
  model.train();
  model.gradientCheckpointing = true;
  const batch = collate(model, [example], 'right');
  const step = (): { forward: number; backward: number; update: number; loss: number } => {
    let at = performance.now();
    const lap = (): number => {
      const spent = seconds(at);
      at = performance.now();
      return spent;
    };
    const [forward, loss] = scope(() => {
      const sums = model.loss(batch);
      const mean = sums.loss.div(sums.targets);
      const value = mean.item();
      const spent = lap();
      backward(mean);
      return [spent, value];
    });
    const back = lap();
    optimizer.step(1e-5);
    optimizer.zeroGrad();
    return { forward, backward: back, update: lap(), loss };
  };
  const { forward, backward: back, update, loss } = step();
  await setImmediate();
  const trained = [...parameters.values()].reduce((sum, { numel }) => sum + numel, 0);
  return {
    'audio tokens': audioTokens,
    'text tokens': example.inputIds.length - audioTokens,
    'trained parameters': trained,
    loss: round(loss, 4),
    'forward, s': round(forward),
    'backward, s': round(back),
    'update, s': round(update),
  };
}

async function candidate(folder: string): Promise<Findings> {
  const dir = join(folder, 'nf4');
  using model = loadModel(dir);
  const processor = Processor.fromPretrained(dir, model.config);
  const utterances = 4;
  const instruction = translationInstruction('German');
  const make = (target?: string): ReturnType<typeof collate> => {
    const examples = Array.from({ length: utterances }, (_, i) =>
      processor.process({ audio: sound(length(model, 6), 200 + 90 * i), instruction, target }),
    );
    return collate(model, examples, target === undefined ? 'left' : 'right');
  };
  const batch = make();
  let started = now();
  const audioFeatures = encodeAudio(model, batch);
  const encoding = between(started, now(), utterances);
  const count = model.layers.length;
  const without = model.withLayers([...Array(count).keys()].filter((i) => i !== count >> 1));
  started = now();
  await generate(without, batch, { maxNewTokens: newTokens, audioFeatures });
  const translating = between(started, now(), utterances);
  const labelled = make(Array(newTokens).fill('the').join(' '));
  started = now();
  scope(() => noGrad(() => without.loss(labelled, { audioFeatures }).loss.item()));
  const loss = between(started, now(), utterances);
  return {
    utterances: `${utterances} of ${length(model, 6)} s, ${newTokens} tokens`,
    ...timeOf('encoding once', encoding),
    ...timeOf('translating', translating),
    ...timeOf('loss', loss),
  };
}

function timeOf(what: string, { wall, processor }: Time): Findings {
  return { [`${what}, s/utterance`]: wall, [`${what}, processor s/utterance`]: processor };
}

/** Removes a quarter of the layers, from the middle on. */
async function prune(folder: string, name: string): Promise<Findings> {
  const dir = join(folder, name);
  const count = readConfig(dir).text.numHiddenLayers;
  const layers = [...Array(count).keys()].slice(count >> 1, (3 * count) >> 2);
  const { verified, accounting } = await pruneCheckpoint(dir, layers, join(folder, prunedFolder));
  const { decoderLayers, bytes } = accounting;
  return { 'decoder layers': decoderLayers, bytes, 'tensors compared': verified };
}

/** Is removed after each step. */
export const prunedFolder = 'pruned';

/** In the order that they are run in. */
export const steps: Readonly<Record<string, Step>> = {
  synth: {
    title: 'Synthesise the checkpoint (bf16)',
    needs: 1,
    makes: 'bf16',
    async run(folder, shape) {
      const { parameters, bytes } = await synthesizeCheckpoint(shape, join(folder, 'bf16'));
      return { parameters, bytes };
    },
  },
  quantize: {
    title: 'Quantise on disk, bf16 to NF4',
    needs: 1.5,
    makes: 'nf4',
    cold: 'bf16',
    async run(folder) {
      const { bytes } = await quantizeCheckpoint(join(folder, 'bf16'), join(folder, 'nf4'));
      return { bytes };
    },
  },
  'load-into-nf4': {
    title: 'Load the bf16 checkpoint into NF4',
    needs: 6,
    cold: 'bf16',
    async run(folder) {
      const { result: model, latest } = await withTimer(() => loadQuantized(join(folder, 'bf16')));
      const bytes = memory().bytes;
      model.dispose();
      return { 'tensors, mapped ones included': bytes, 'timer late, s': round(latest) };
    },
  },
  'load-cold': {
    title: 'Load the NF4 checkpoint, files not in memory',
    needs: 1,
    cold: 'nf4',
    run: (folder) => Promise.resolve(load(folder)),
  },
  'load-warm': {
    title: 'Load the NF4 checkpoint, files in memory',
    needs: 6,
    warm: 'nf4',
    run: (folder) => Promise.resolve(load(folder)),
  },
  'prune-bf16': {
    title: 'Prune on disk, bf16',
    needs: 1,
    cold: 'bf16',
    run: (folder) => prune(folder, 'bf16'),
  },
  'prune-nf4': {
    title: 'Prune on disk, NF4',
    needs: 1,
    cold: 'nf4',
    run: (folder) => prune(folder, 'nf4'),
  },
  'translate-1': {
    title: 'Translate 10 s, one at a time (NF4)',
    needs: 8,
    run: (folder) => translate(folder, 1),
  },
  'translate-4': {
    title: 'Translate 10 s, four at a time (NF4)',
    needs: 9,
    run: (folder) => translate(folder, 4),
  },
  'worker-10': {
    title: 'Translate 10 s in a worker thread (NF4)',
    needs: 8,
    run: (folder) => translateInWorker(folder, 10),
  },
  'worker-95': {
    title: 'Translate a recording of 95 s in a worker thread (NF4)',
    needs: 8,
    run: (folder) => translateInWorker(folder, 95),
  },
  candidate: {
    title: 'One importance candidate (NF4)',
    needs: 9,
    run: candidate,
  },
  qlora: {
    title: 'One QLoRA step, r 64, all linear layers, activations checkpointed',
    needs: 15,
    run: qlora,
  },
};

function load(folder: string): Findings {
  const started = performance.now();
  using _model = loadModel(join(folder, 'nf4'));
  return { 'ready, s': round(seconds(started)) };
}
