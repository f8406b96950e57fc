/** Speech translation as a training task: utterances with their targets, in seeded batches. */
import {
  specAugment,
  warpMel,
  type LogMel,
  type SpecAugmentOptions,
  type WarpOptions,
} from '../audio';
import { bucketBatches, seededRandom, type Utterance } from '../data';
import {
  audioTokenCount,
  collate,
  type Batch,
  type Example,
  type Qwen2Audio,
} from '../qwen2-audio';
import {
  autocast,
  checkpoint,
  functional as F,
  manualSeed,
  nn,
  tensor,
  type DType,
  type Generator,
  type Tensor,
} from '../torch';
import { instructionOf, transcribe, type Features, type Task } from './examples';

/** An utterance and the texts to learn from it. */
export interface TrainingItem {
  utterance: Utterance;
  targets: readonly { task: Task; text: string }[];
}

/** Batches, augmentation, losses and precision of training to translate. */
export interface TranslationOptions {
  /** Utterances a step; each brings all of its targets, which share one run of the encoder. */
  batchSize: number;
  /** Utterances a micro-batch; gradients are accumulated over the step. */
  microBatchSize?: number;
  seed: number;
  /**
   * The share of utterances whose transcript target is used in a step; translations always are, and
   * so are transcripts where a step has nothing else.
   */
  transcribeRate?: number;
  specAugment?: SpecAugmentOptions;
  /** Speed and throat of the speaker, changed anew each time an utterance is heard. */
  warp?: Omit<WarpOptions, 'maxFrames'>;
  /** Weight of the CTC loss on the transcript, beside the translation loss; see `CtcHead`. */
  ctcWeight?: number;
  /** First steps that learn from the CTC loss alone: a curriculum from hearing to translating. */
  ctcSteps?: number;
  /** Matrix products in bfloat16 from float32 weights, as the paper's `bf16` training. */
  bf16?: boolean;
  /** Each layer keeps its input alone and runs again in backward (Chen et al. 2016). */
  gradientCheckpointing?: boolean;
  /** A micro-batch's rows one behind the other, so that the decoder computes no padding. */
  packing?: boolean;
}

/** The part of each step's utterances that is one rank's. */
export interface Share {
  rank: number;
  size: number;
}

/** An utterance as it is heard in a step, with what is asked about it. */
interface Clip {
  utterance: Utterance;
  mel: LogMel;
  examples: Example[];
}

interface MicroBatch {
  batch: Batch;
  /** Tokens without padding, the audio's included. */
  tokens: number;
  /** Target tokens of the whole step. */
  targets: number;
  /** CTC: transcript ids of each clip, and their number in the whole step. */
  transcripts: number[][];
  transcriptTokens: number;
}

/**
 * An auxiliary head for random starts: connectionist temporal classification (Graves et al. 2006)
 * of the transcript from the audio tower's states, so that the tower learns to hear before the
 * decoder can read. It is dropped after training.
 */
export class CtcHead extends nn.Module {
  linear: nn.Linear;
  /** The blank is the class behind the last token. */
  readonly #blank: number;

  constructor(dModel: number, vocabSize: number, generator: Generator, dtype?: DType) {
    super();
    this.linear = new nn.Linear(dModel, vocabSize + 1, { generator, dtype });
    this.#blank = vocabSize;
  }

  /** Summed over clips. @param states [clips, positions, d] */
  loss(states: Tensor, lengths: readonly number[], transcripts: readonly number[][]): Tensor {
    const logProbs = F.logSoftmax(this.linear.forward(states).to('float32').transpose(0, 1));
    const int = (values: readonly number[]): Tensor => tensor([...values], { dtype: 'int64' });
    return F.ctcLoss(
      logProbs,
      int(transcripts.flat()),
      int(lengths),
      int(transcripts.map((t) => t.length)),
      this.#blank,
    );
  }
}

/** The batches of a translation task, as functions of the step alone. */
export class TranslationTask {
  readonly stepsPerEpoch: number;
  /** Of the items' audio, in frames. */
  readonly #lengths: readonly number[];
  readonly #blocks: readonly number[] | undefined;
  readonly #transcripts = new Map<Utterance, number[]>();
  #epoch: { number: number; batches: number[][] } | undefined;

  constructor(
    readonly items: readonly TrainingItem[],
    readonly features: Features,
    readonly model: Qwen2Audio,
    readonly options: TranslationOptions,
    readonly ctc: CtcHead | undefined,
    lengths: readonly number[] = items.map(({ utterance }) => features.get(utterance).frames),
    readonly share: Share = { rank: 0, size: 1 },
  ) {
    this.#lengths = lengths;
    this.#blocks = blocksOf(items, features);
    this.stepsPerEpoch = Math.ceil(items.length / options.batchSize);
  }

  /** Reads the audio of a step that is not in memory. */
  async load(step: number): Promise<void> {
    const utterances = this.#itemsOf(step).map(({ utterance }) => utterance);
    await this.features.load(utterances, { quiet: true });
  }

  /** The micro-batches of a step (from 0), the same each time; the scope around frees them. */
  *microBatches(step: number): Iterable<MicroBatch> {
    const { rank, size } = this.share;
    if (size > 1) {
      // Dropout is each rank's own, and a function of the step: a resume may have other ranks.
      const random = seededRandom(`dropout ${this.options.seed} ${step} ${rank}`);
      manualSeed(Math.floor(2 ** 32 * random.next()));
    }
    const clips = this.#clipsOf(step);
    // Every rank knows what the others learn: the loss is divided by the targets of the whole step.
    const ranks = Array.from({ length: size }, (_, owner) =>
      this.#partsOf(clips.filter((_, i) => i % size === owner)),
    );
    const parts = ranks.flat();
    const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
    const targets = sum(parts.flatMap((part) => part.examples.map(learnt)));
    const transcriptTokens = sum(
      parts.flatMap((part) => part.transcripts.map((ids) => ids.length)),
    );
    for (const { examples, transcripts } of ranks[rank]!) {
      const tokens = sum(examples.map(({ inputIds }) => inputIds.length));
      yield { batch: this.#collate(examples), tokens, targets, transcripts, transcriptTokens };
    }
  }

  /** Micro-batches of some clips. */
  #partsOf(clips: readonly Clip[]): { examples: Example[]; transcripts: number[][] }[] {
    const { batchSize, microBatchSize = batchSize } = this.options;
    const parts: { examples: Example[]; transcripts: number[][] }[] = [];
    for (let at = 0; at < clips.length; at += microBatchSize) {
      const part = clips.slice(at, at + microBatchSize);
      // An utterance that is there twice is encoded once, so CTC has it once, too.
      const transcripts = new Map(
        part.map(({ mel, utterance }) => [mel, this.#transcript(utterance)]),
      );
      parts.push({
        examples: part.flatMap((clip) => clip.examples),
        transcripts: [...transcripts.values()],
      });
    }
    return parts;
  }

  /** A step's utterances as they are heard in it, with what is asked about them. */
  #clipsOf(step: number): Clip[] {
    const { seed, transcribeRate = 1 } = this.options;
    const random = seededRandom(`step ${seed} ${step}`);
    const clips = this.#itemsOf(step).map((item) => {
      const { utterance, targets } = item;
      const original = this.features.get(utterance);
      const mel = this.#augment(original, random.next);
      const transcribes = random.next() < transcribeRate;
      const asked = targets.filter(({ task }) => task !== transcribe || transcribes);
      return { utterance, mel, targets, asked };
    });
    // Where the rate leaves a step nothing to learn, it learns all.
    const nothing = clips.every(({ asked }) => asked.length === 0);
    return clips
      .map(({ utterance, mel, targets, asked }) => {
        const examples = (nothing ? targets : asked).map((t) => this.#example(t, mel));
        return { utterance, mel, examples };
      })
      .filter(({ examples }) => examples.length > 0);
  }

  /** Cross-entropy per target token, plus the weighted CTC loss per transcript token. */
  loss(micro: MicroBatch, step: number): { loss: Tensor; metrics: Record<string, number> } {
    const forward = (): { loss: Tensor; metrics: Record<string, number> } =>
      this.#loss(micro, step < (this.options.ctcSteps ?? 0));
    return this.options.bf16 ? autocast(forward) : forward();
  }

  #loss(micro: MicroBatch, ctcOnly: boolean): { loss: Tensor; metrics: Record<string, number> } {
    const { batch } = micro;
    const encoded = this.model.encode(batch);
    // Read twice: gradients of decoder and CTC are added up here, then go on in one pass.
    const encoderStates = this.model.gradientCheckpointing
      ? checkpoint((states) => states, encoded)
      : encoded;
    const metrics: Record<string, number> = { tokens: micro.tokens };
    const losses: Tensor[] = [];
    if (!ctcOnly) {
      const audioFeatures = this.model.project(encoderStates, batch);
      const translation = this.model.loss(batch, { audioFeatures }).loss.div(micro.targets);
      metrics.translation = translation.item();
      losses.push(translation);
    }
    const { ctcWeight = 0 } = this.options;
    if (this.ctc !== undefined && ctcWeight > 0) {
      const lengths = batch.melFrames.map(audioTokenCount);
      const sum = this.ctc.loss(encoderStates, lengths, micro.transcripts);
      const ctc = sum.div(micro.transcriptTokens);
      metrics.ctc = ctc.item();
      losses.push(ctc.mul(ctcWeight));
    }
    return { loss: losses.reduce((a, b) => a.add(b)), metrics };
  }

  /** The utterances of a step by id, for people. */
  describe(step: number): string {
    return this.#itemsOf(step)
      .map(({ utterance }) => utterance.id)
      .join(', ');
  }

  #itemsOf(step: number): TrainingItem[] {
    const number = Math.floor(step / this.stepsPerEpoch);
    if (this.#epoch?.number !== number) {
      const { batchSize, seed } = this.options;
      const batches = bucketBatches(this.#lengths, batchSize, seed, number, this.#blocks);
      this.#epoch = { number, batches };
    }
    return this.#epoch.batches[step % this.stepsPerEpoch]!.map((index) => this.items[index]!);
  }

  #example({ task, text }: { task: Task; text: string }, mel: LogMel): Example {
    const prompt = { instruction: instructionOf(task), target: text };
    const { processor } = this.features;
    return { ...processor.tokenize(prompt, audioTokenCount(mel.frames)), mel };
  }

  #augment(mel: LogMel, random: () => number): LogMel {
    const { warp, specAugment: masks } = this.options;
    const maxFrames = this.features.processor.windowFrames;
    const warped = warp === undefined ? mel : warpMel(mel, random, { ...warp, maxFrames });
    return masks === undefined ? warped : specAugment(warped, random, masks);
  }

  #transcript(utterance: Utterance): number[] {
    let ids = this.#transcripts.get(utterance);
    if (ids === undefined) {
      // With the space in front every word has one form, wherever it stands.
      ids = this.features.processor.tokenizer.encode(` ${utterance.text}`);
      this.#transcripts.set(utterance, ids);
    }
    return ids;
  }

  #collate(examples: readonly Example[]): Batch {
    const { packing } = this.options;
    return collate(this.model, examples, 'right', { shareRows: true, packing, padToMultipleOf: 8 });
  }
}

/** What of the items is read together, by number; undefined where nothing is. */
function blocksOf(
  items: readonly TrainingItem[],
  { corpus }: Features,
): readonly number[] | undefined {
  const numbers = new Map<string, number>();
  let own = 0;
  const blocks = items.map(({ utterance }) => {
    const block = corpus.blockOf(utterance);
    if (block === undefined) return --own;
    const number = numbers.get(block) ?? numbers.size;
    numbers.set(block, number);
    return number;
  });
  return numbers.size === 0 ? undefined : blocks;
}

function learnt(example: Example): number {
  return example.labels?.filter((label) => label !== -100).length ?? 0;
}
