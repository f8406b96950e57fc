/** Batches of examples as tensors. */
import { tensor, Tensor, type DType } from '../torch';
import { padLogMel, type LogMel } from '../audio';
import type { Qwen2AudioConfig } from './config';
import { audioTokenCount } from './lengths';
import { Packing } from './packing';
import { eachVisible, positionsOf, rowOf, sharedRows, type Row } from './rows';

/** What the processor makes of one example (token ids already hold one id an audio token). */
export interface Example {
  inputIds: readonly number[];
  /** As `inputIds`, with -100 where nothing is to be learnt. */
  labels?: readonly number[];
  /** Examples that have this very object share one run of the encoder. */
  mel: LogMel;
}

/** How examples become rows: padding, the ids with a meaning, the device. */
export interface CollateOptions {
  /** Left for generation, right for training: then no mask is needed beside the causal one. */
  padding: 'left' | 'right';
  padTokenId: number;
  audioTokenIndex: number;
  /** The encoder's window in mel frames (2 maxSourcePositions). */
  window: number;
  /** Examples about one clip in one row (see `sharedRows`); for padding on the right. */
  shareRows?: boolean;
  /**
   * All rows one behind the other, so that padding is computed in attention alone (see `Packing`);
   * for padding on the right. Left out where there is less padding than a packed row's own.
   */
  packing?: boolean;
  /**
   * Rows are padded to a multiple of this many tokens, clips to one of twice as many frames: what
   * is prepared for a shape (oneDNN compiles its kernels for each) then serves many batches.
   */
  padToMultipleOf?: number;
  device?: string;
}

/** The positions that have a target, as rows of `inputIds` [batch * time, …], and the targets. */
export interface Targets {
  rows: Tensor;
  ids: Tensor;
  count: number;
}

/** Examples as tensors: padded rows of token ids, and each clip's log-mel features once. */
export class Batch {
  /** int64 [batch, time]; packed [1, tokens] */
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
  /** Where the rows are in `inputIds`, if packed. */
  readonly packing?: Packing;
  readonly #rows: readonly Row[];
  readonly #time: number;
  readonly #options: CollateOptions;

  constructor(examples: readonly Example[], options: CollateOptions) {
    this.#options = options;
    const rows = options.shareRows ? sharedRows(examples) : examples.map(rowOf);
    this.#rows = rows;
    this.lengths = rows.map(({ inputIds }) => inputIds.length);
    const { padToMultipleOf = 1 } = options;
    const time = ceilTo(Math.max(...this.lengths), padToMultipleOf);
    this.#time = time;
    const real = this.lengths.reduce((sum, length) => sum + length, 0);
    // The products' number of rows takes few values, as `padToMultipleOf` wants it.
    const tokens = ceilTo(real, packedMultiple * padToMultipleOf);
    const packs = options.packing === true && tokens < rows.length * time;
    const shape = packs ? [1, tokens] : [rows.length, time];
    const ids = new BigInt64Array(shape[0]! * shape[1]!).fill(BigInt(options.padTokenId));
    const targetRows: number[] = [];
    const targetIds: number[] = [];
    let placeholders = 0;
    let packed = 0;
    for (const [b, { inputIds, targets }] of rows.entries()) {
      const padded = b * time + (options.padding === 'left' ? time - inputIds.length : 0);
      const start = packs ? packed : padded;
      packed += inputIds.length;
      for (const [t, id] of inputIds.entries()) {
        ids[start + t] = BigInt(id);
        if (id === options.audioTokenIndex) placeholders++;
      }
      for (const { at, id } of targets) {
        targetRows.push(start + at);
        targetIds.push(id);
      }
    }
    this.audioPlaceholders = placeholders;
    const { device } = options;
    this.inputIds = tensor(ids, { shape, device });
    if (packs) this.packing = new Packing(this.lengths, time, tokens);
    if (targetRows.length > 0) {
      this.targets = {
        rows: tensor(targetRows, { dtype: 'int64', device }),
        ids: tensor(targetIds, { dtype: 'int64', device }),
        count: targetRows.length,
      };
    }
    const mels = [...new Set(rows.map(({ mel }) => mel))];
    this.clips = rows.map(({ mel }) => mels.indexOf(mel));
    this.melFrames = mels.map((mel) => mel.frames);
    this.audioTokens = this.clips.map((clip) => audioTokenCount(this.melFrames[clip]!));
    this.inputFeatures = features(mels, options);
  }

  /** The number of rows. */
  get size(): number {
    return this.lengths.length;
  }

  get #branched(): boolean {
    return this.#rows.some(({ branches }) => branches.length > 0);
  }

  /** Positions [batch][time] counted over real tokens, padding 0; one row where all agree. */
  get positionIds(): number[][] {
    const left = this.#options.padding === 'left';
    if (!left && !this.#branched) return [Array.from({ length: this.#time }, (_, i) => i)];
    return this.#rows.map((row) => {
      const padding = new Array<number>(this.#time - row.inputIds.length).fill(0);
      return left ? [...padding, ...positionsOf(row)] : [...positionsOf(row), ...padding];
    });
  }

  /**
   * Additive mask [batch, 1, time, time] for left padding and for rows with branches; none where
   * the causal mask is enough. A padding query attends to itself, so that no row is fully masked.
   */
  mask(dtype: DType): Tensor | undefined {
    const time = this.#time;
    const left = this.#options.padding === 'left';
    const full = !left || this.lengths.every((length) => length === time);
    if (full && !this.#branched) return undefined;
    const mask = new Float32Array(this.size * time * time).fill(-Infinity);
    for (const [b, row] of this.#rows.entries()) {
      const first = left ? time - this.lengths[b]! : 0;
      const of = (query: number): number => (b * time + query) * time;
      for (let query = 0; query < time; query++) mask[of(query) + query] = 0;
      eachVisible(row, (query, from, to) => {
        const start = of(first + query) + first;
        mask.fill(0, start + from, start + to);
      });
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

/** Of `padToMultipleOf`, for the tokens of all rows together. */
const packedMultiple = 2;

function ceilTo(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

/**
 * Log-mel features [batch, mels, frames]: padded to the longest clip and the few frames behind it
 * that a convolution can see, not to the window; the result at valid positions is the same.
 */
function features(mels: readonly LogMel[], options: CollateOptions): Tensor {
  const reach = 4;
  const longest = Math.max(...mels.map((mel) => mel.frames)) + reach;
  const { padToMultipleOf = 2 } = options;
  const frames = Math.min(options.window, ceilTo(longest, 2 * padToMultipleOf));
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
  options: Pick<CollateOptions, 'shareRows' | 'packing' | 'padToMultipleOf'> = {},
): Batch {
  const { padTokenId, audioTokenIndex, audio } = model.config;
  const window = 2 * audio.maxSourcePositions;
  const { device } = model;
  return new Batch(examples, { ...options, padding, padTokenId, audioTokenIndex, window, device });
}
