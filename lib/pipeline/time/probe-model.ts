/**
 * A model of a recipe's widths with weights of no meaning, to time the program's own functions on:
 * whole where it is small, else one layer of each kind and a small vocabulary.
 */
import { quantizeModel } from '../../compress';
import type { LogMel } from '../../audio';
import type { Corpus, Utterance } from '../../data';
import { Processor, Qwen2Audio, type Qwen2AudioConfig } from '../../qwen2-audio';
import { logicalParameters } from '../../qwen2-audio/logical-parameters';
import { noGrad, randn, scope, type DType } from '../../torch';
import { Features, transcribe, type Task } from '../../train/examples';
import type { TrainingItem } from '../../train/translation';
import type { Packing, Shape } from '../plan-memory';
import type { ProbeTexts } from './probe-texts';
import type { Clip } from '../workload';

/** Parameters up to which a model is timed whole; with gradients and moments 1 GB in float32. */
const wholeUpTo = 60e6;

/** Layers that are there, and the rows of embeddings and lm_head. */
export interface Layers {
  encoder: number;
  decoder: number;
  vocabulary: number;
}

/** The number of layers of each kind that is made of a model. */
export function isTimedWhole(shape: Shape): boolean {
  return logicalParameters(shape).total <= wholeUpTo;
}

export class ProbeModel {
  /** All of its layers; {@link only} leaves some out. */
  readonly layers: Layers;
  readonly isWhole: boolean;
  readonly #encoder: Qwen2Audio['audioTower']['layers'];
  readonly #decoder: Qwen2Audio['layers'];

  private constructor(
    readonly model: Qwen2Audio,
    readonly processor: Processor,
    readonly texts: ProbeTexts,
    isWhole: boolean,
  ) {
    this.isWhole = isWhole;
    this.#encoder = model.audioTower.layers;
    this.#decoder = model.layers;
    this.layers = {
      encoder: this.#encoder.length,
      decoder: this.#decoder.length,
      vocabulary: model.config.text.vocabSize,
    };
  }

  /** @param dtype of the weights, but for what is in 4 bits */
  static make(shape: Shape, texts: ProbeTexts, dtype: DType, packing?: Packing): ProbeModel {
    const isWhole = isTimedWhole(shape);
    const { tokenizer } = texts;
    const audio = { ...shape.audio };
    const text = { ...shape.text };
    if (isWhole) text.vocabSize = Math.max(text.vocabSize, tokenizer.vocabSize);
    else {
      audio.encoderLayers = 1;
      text.numHiddenLayers = 1;
      text.vocabSize = tokenizer.vocabSize;
    }
    const processor = new Processor({
      tokenizer,
      maxSourcePositions: audio.maxSourcePositions,
      nMels: audio.numMelBins,
    });
    const config: Qwen2AudioConfig = {
      ...{ audio, text, audioTokenIndex: processor.audioTokenId, padTokenId: 0, raw: {} },
      // None: what is generated ends where it is told to.
      eosTokenIds: [-1],
      samplingDefaults: {} as Qwen2AudioConfig['samplingDefaults'],
    };
    const model = new Qwen2Audio(config, { dtype });
    noGrad(() => {
      for (const [, value] of model.namedTensors()) {
        // Drawing billions of numbers takes longer than all that is timed: rows repeat.
        const { shape: sizes } = value;
        scope(() => value.copy_(randn(sizes.slice(-1)).mul(0.02).to(dtype).expand(sizes)));
      }
    });
    if (packing !== undefined) {
      quantizeModel(model, { ...packing, blockSize: packing.blockSize as 64 });
    }
    return new ProbeModel(model.eval(), processor, texts, isWhole);
  }

  /** From now on only so many layers are there. */
  only({ encoder, decoder }: { encoder: number; decoder: number }): Layers {
    this.model.audioTower.layers = this.#encoder.slice(0, encoder);
    this.model.languageModel.model.layers = this.#decoder.slice(0, decoder);
    return { ...this.layers, encoder, decoder };
  }

  /** Things to learn of such lengths, and their features. */
  items(clips: readonly Clip[], languages: readonly string[]): TrainingItem[] {
    return clips.map((clip, i) => {
      const tasks: Task[] = clip.targets.map(
        (_, t) => languages[t % languages.length] ?? transcribe,
      );
      const targets = clip.targets.map((tokens, t) => ({
        task: tasks[t]!,
        text: this.texts.ofLength(tokens),
      }));
      return { utterance: utteranceOf(clip, i, this.texts), targets };
    });
  }

  [Symbol.dispose](): void {
    this.only(this.layers);
    this.model.dispose();
  }
}

function utteranceOf({ frames, targets }: Clip, i: number, texts: ProbeTexts): Utterance {
  const text = texts.ofLength(targets[0] ?? 8);
  return { id: `${i} ${frames}`, audio: '', seconds: frames / 100, text, translations: {} };
}

const noCorpus: Pick<Corpus, 'blockOf'> = { blockOf: () => undefined };

/** Features without a sound behind them; the numbers do not matter for the time. */
export class ProbeFeatures extends Features {
  readonly #made = new Map<string, LogMel>();

  constructor(processor: Processor) {
    super(noCorpus as Corpus, processor);
  }

  override lengths(utterances: readonly Utterance[]): Promise<number[]> {
    return Promise.resolve(utterances.map((utterance) => this.get(utterance).frames));
  }
  override load(): Promise<void> {
    return Promise.resolve();
  }
  override get({ id, seconds }: Utterance): LogMel {
    let mel = this.#made.get(id);
    if (mel === undefined) {
      const frames = Math.round(seconds * 100);
      const { nMels, windowFrames } = this.processor;
      const computedFrames = Math.min(windowFrames, frames + 2);
      const data = new Float32Array(nMels * computedFrames).map((_, i) => Math.sin(i * i));
      mel = { data, nMels, computedFrames, frames, floor: -0.5 };
      this.#made.set(id, mel);
    }
    return mel;
  }
}
