/** Batches of examples as tensors. */
import { tensor, Tensor, type DType } from '../torch';
import { padLogMel, type LogMel } from '../audio';
import type { Qwen2AudioConfig } from './config';
import { audioTokenCount } from './lengths';

/** What the processor makes of one example (token ids already hold one id an audio token). */
export interface Example {
  inputIds: readonly number[];
  /** As `inputIds`, with -100 where nothing is to be learnt. */
  labels?: readonly number[];
  /** Examples that share this object share one run of the encoder. */
  mel: LogMel;
}

export interface CollateOptions {
  /** Left for generation, right for training: then no mask is needed beside the causal one. */
  padding: 'left' | 'right';
  padTokenId: number;
  audioTokenIndex: number;
  /** The encoder's window in mel frames (2 maxSourcePositions). */
  window: number;
  device?: string;
}

/** The positions that have a target, as rows of [batch * time, …], and the targets. */
export interface Targets {
  rows: Tensor;
  ids: Tensor;
  count: number;
}

export class Batch {
  /** int64 [batch, time] */
  readonly inputIds: Tensor;
  /** float32 [clips, mels, frames] */
  readonly inputFeatures: Tensor;
  /** Real frames of each clip. */
  readonly melFrames: readonly number[];
  /** The clip of each row. */
  readonly clips: readonly number[];
  /** Audio tokens of each row. */
  readonly audioTokens: readonly number[];
  /** Ids equal to `<|AUDIO|>`; must be the sum of `audioTokens`. */
  readonly audioPlaceholders: number;
  /** Tokens of each row without padding. */
  readonly lengths: readonly number[];
  readonly targets?: Targets;
  readonly #time: number;
  readonly #options: CollateOptions;

  constructor(examples: readonly Example[], options: CollateOptions) {
    this.#options = options;
    this.lengths = examples.map((example) => example.inputIds.length);
    const time = Math.max(...this.lengths);
    this.#time = time;
    const ids = new BigInt64Array(examples.length * time).fill(BigInt(options.padTokenId));
    const rows: number[] = [];
    const targetIds: number[] = [];
    let placeholders = 0;
    for (const [b, { inputIds, labels }] of examples.entries()) {
      const start = b * time + (options.padding === 'left' ? time - inputIds.length : 0);
      for (const [t, id] of inputIds.entries()) {
        ids[start + t] = BigInt(id);
        if (id === options.audioTokenIndex) placeholders++;
        const label = labels?.[t] ?? -100;
        // The state at t - 1 predicts the token at t.
        if (label !== -100 && t > 0) {
          rows.push(start + t - 1);
          targetIds.push(label);
        }
      }
    }
    this.audioPlaceholders = placeholders;
    const { device } = options;
    this.inputIds = tensor(ids, { shape: [examples.length, time], device });
    if (rows.length > 0) {
      this.targets = {
        rows: tensor(rows, { dtype: 'int64', device }),
        ids: tensor(targetIds, { dtype: 'int64', device }),
        count: rows.length,
      };
    }
    const mels = [...new Set(examples.map(({ mel }) => mel))];
    this.clips = examples.map(({ mel }) => mels.indexOf(mel));
    this.melFrames = mels.map((mel) => mel.frames);
    this.audioTokens = this.clips.map((clip) => audioTokenCount(this.melFrames[clip]!));
    this.inputFeatures = features(mels, options);
  }

  get size(): number {
    return this.lengths.length;
  }

  /** Positions [batch][time] counted over real tokens, padding 0; one row where all agree. */
  get positionIds(): number[][] {
    const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
    if (this.#options.padding === 'right') return [range(this.#time)];
    return this.lengths.map((length) => [
      ...new Array<number>(this.#time - length).fill(0),
      ...range(length),
    ]);
  }

  /**
   * Additive mask [batch, 1, time, time] for left padding; none where the causal mask is enough.
   * A padding query attends to itself, so that no row is fully masked.
   */
  mask(dtype: DType): Tensor | undefined {
    const time = this.#time;
    if (this.#options.padding === 'right' || this.lengths.every((n) => n === time))
      return undefined;
    const mask = new Float32Array(this.size * time * time).fill(-Infinity);
    for (const [b, length] of this.lengths.entries()) {
      const first = time - length;
      for (let q = 0; q < time; q++) {
        const row = (b * time + q) * time;
        mask.fill(0, row + Math.min(first, q), row + q + 1);
        if (q < first) mask.fill(-Infinity, row, row + q);
      }
    }
    const { device } = this.#options;
    return tensor(mask, { shape: [this.size, 1, time, time], dtype, device });
  }

  /** Additive mask [batch, 1, 1, keys] for a step after `keys - 1` cached positions. */
  stepMask(keys: number, dtype: DType): Tensor | undefined {
    const time = this.#time;
    if (this.lengths.every((n) => n === time)) return undefined;
    const mask = new Float32Array(this.size * keys);
    for (const [b, length] of this.lengths.entries()) {
      mask.fill(-Infinity, b * keys, b * keys + time - length);
    }
    const { device } = this.#options;
    return tensor(mask, { shape: [this.size, 1, 1, keys], dtype, device });
  }

  /** The encoder's rows [clips * positions, d] behind each row's audio tokens, in row order. */
  audioRows(positions: number): Tensor {
    const rows: number[] = [];
    for (const [b, n] of this.audioTokens.entries()) {
      for (let i = 0; i < n; i++) rows.push(this.clips[b]! * positions + i);
    }
    return tensor(rows, { dtype: 'int64', device: this.#options.device });
  }
}

/**
 * Log-mel features [batch, mels, frames]: padded to the longest clip and the few frames behind it
 * that a convolution can see, not to the window; the result at valid positions is the same.
 */
function features(mels: readonly LogMel[], options: CollateOptions): Tensor {
  const reach = 4;
  const longest = Math.max(...mels.map((mel) => mel.frames)) + reach;
  const frames = Math.min(options.window, Math.ceil(longest / 4) * 4);
  const bands = mels[0]!.data.length / mels[0]!.computedFrames;
  const data = new Float32Array(mels.length * bands * frames);
  for (const [b, mel] of mels.entries()) data.set(padLogMel(mel, frames), b * bands * frames);
  return tensor(data, { shape: [mels.length, bands, frames], device: options.device });
}

/** A batch for `model`: padded on the right to train, on the left to generate. */
export function collate(
  model: { config: Qwen2AudioConfig; device: string },
  examples: readonly Example[],
  padding: 'left' | 'right',
): Batch {
  const { padTokenId, audioTokenIndex, audio } = model.config;
  const window = 2 * audio.maxSourcePositions;
  return new Batch(examples, {
    padding,
    padTokenId,
    audioTokenIndex,
    window,
    device: model.device,
  });
}
