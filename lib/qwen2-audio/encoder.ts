/**
 * The audio tower: Whisper's encoder with a pool by two before its last norm
 * (`Qwen2AudioEncoder` in transformers).
 */
import {
  checkpoint,
  functional as F,
  nn,
  noGrad,
  scope,
  Tensor,
  tensor,
  type DType,
} from '../torch';
import type { Generator } from '../torch';
import type { AudioConfig } from './config';
import { encoderPositions } from './lengths';

class EncoderAttention extends nn.Module {
  kProj: nn.Linear;
  vProj: nn.Linear;
  qProj: nn.Linear;
  outProj: nn.Linear;
  readonly #heads: number;

  constructor(config: AudioConfig, options: nn.LinearOptions) {
    super();
    const d = config.dModel;
    this.#heads = config.encoderAttentionHeads;
    this.kProj = new nn.Linear(d, d, { ...options, bias: false });
    this.vProj = new nn.Linear(d, d, options);
    this.qProj = new nn.Linear(d, d, options);
    this.outProj = new nn.Linear(d, d, options);
  }

  forward(hiddenStates: Tensor, mask: Tensor | undefined): Tensor {
    const [batch, time, d] = hiddenStates.shape as [number, number, number];
    const headDim = d / this.#heads;
    const split = (x: Tensor): Tensor =>
      x.reshape([batch, time, this.#heads, headDim]).transpose(1, 2);
    const attended = F.scaledDotProductAttention(
      split(this.qProj.forward(hiddenStates)),
      split(this.kProj.forward(hiddenStates)),
      split(this.vProj.forward(hiddenStates)),
      { mask, scale: headDim ** -0.5 },
    );
    return this.outProj.forward(attended.transpose(1, 2).reshape([batch, time, d]));
  }
}

class EncoderLayer extends nn.Module {
  selfAttn: EncoderAttention;
  selfAttnLayerNorm: nn.LayerNorm;
  fc1: nn.Linear;
  fc2: nn.Linear;
  finalLayerNorm: nn.LayerNorm;

  constructor(config: AudioConfig, options: nn.LinearOptions) {
    super();
    this.selfAttn = new EncoderAttention(config, options);
    this.selfAttnLayerNorm = new nn.LayerNorm(config.dModel, 1e-5, options.dtype);
    this.fc1 = new nn.Linear(config.dModel, config.encoderFfnDim, options);
    this.fc2 = new nn.Linear(config.encoderFfnDim, config.dModel, options);
    this.finalLayerNorm = new nn.LayerNorm(config.dModel, 1e-5, options.dtype);
  }

  forward(hiddenStates: Tensor, mask: Tensor | undefined): Tensor {
    const attended = this.selfAttn.forward(this.selfAttnLayerNorm.forward(hiddenStates), mask);
    const h = hiddenStates.add(attended);
    const mlp = this.fc2.forward(F.gelu(this.fc1.forward(this.finalLayerNorm.forward(h))));
    return h.add(mlp);
  }
}

export class AudioEncoder extends nn.Module {
  conv1: nn.Conv1d;
  conv2: nn.Conv1d;
  embedPositions: nn.Embedding;
  layers: EncoderLayer[];
  layerNorm: nn.LayerNorm;
  /** In training, each layer keeps its input alone and runs again in backward. */
  gradientCheckpointing: boolean = false;

  constructor(config: AudioConfig, options: { dtype?: DType; generator?: Generator } = {}) {
    super();
    const d = config.dModel;
    this.conv1 = new nn.Conv1d(config.numMelBins, d, 3, { ...options, padding: 1 });
    this.conv2 = new nn.Conv1d(d, d, 3, { ...options, padding: 1, stride: 2 });
    this.embedPositions = new nn.Embedding(config.maxSourcePositions, d, options);
    this.embedPositions.requiresGrad(false);
    this.layers = Array.from(
      { length: config.encoderLayers },
      () => new EncoderLayer(config, options),
    );
    this.layerNorm = new nn.LayerNorm(d, 1e-5, options.dtype);
    if (options.generator) this.#setSinusoids(config.maxSourcePositions, d);
  }

  /** Positions are fixed; transformers does not train them either. */
  override requiresGrad(value: boolean): this {
    super.requiresGrad(value);
    this.embedPositions.requiresGrad(false);
    return this;
  }

  // Whisper's sinusoids: sines in the first half of the channels, cosines in the second.
  #setSinusoids(length: number, channels: number): void {
    const half = channels / 2;
    const table = new Float32Array(length * channels);
    for (let t = 0; t < length; t++) {
      for (let c = 0; c < half; c++) {
        const angle = t * Math.exp((-Math.log(10000) / (half - 1)) * c);
        table[t * channels + c] = Math.sin(angle);
        table[t * channels + half + c] = Math.cos(angle);
      }
    }
    const shape = [length, channels];
    scope(() => noGrad(() => this.embedPositions.weight.copy_(tensor(table, { shape }))));
  }

  /**
   * The reference pads every clip to the window. What lies more than two frames behind the longest
   * clip cannot reach a valid position, so a batch may be cut there (see `collate`).
   * @param inputFeatures log-mel [batch, mels, frames], frames even and at most the window
   * @param melFrames real frames of each clip
   * @returns hidden states [batch, frames / 4, d], after the pool and the last norm; rows behind
   *   `audioTokenCount(melFrames)` are padding
   */
  forward(inputFeatures: Tensor, melFrames: readonly number[]): Tensor {
    const [batch, , frames] = inputFeatures.shape as [number, number, number];
    const time = frames / 2;
    const features = inputFeatures.to(this.conv1.weight.dtype);
    let h = F.gelu(this.conv2.forward(F.gelu(this.conv1.forward(features)))).transpose(1, 2);
    h = h.add(this.embedPositions.weight.narrow(0, 0, time));
    const mask = keyMask(melFrames, batch, time, h.dtype, h.device);
    const forgets = this.gradientCheckpointing && this.training;
    // As in the decoder: a layer's own tensors go with it.
    for (const layer of this.layers) {
      const forward = (x: Tensor): Tensor => layer.forward(x, mask);
      h = forgets ? checkpoint(forward, h) : scope(() => forward(h));
    }
    h = F.avgPool1d(h.transpose(1, 2), 2).transpose(1, 2);
    return this.layerNorm.forward(h);
  }
}

/** Additive mask [batch, 1, time, time] that hides padding keys, or none if there are none. */
function keyMask(
  melFrames: readonly number[],
  batch: number,
  time: number,
  dtype: DType,
  device: string,
): Tensor | undefined {
  const lengths = melFrames.map(encoderPositions);
  if (lengths.every((length) => length >= time)) return undefined;
  const mask = new Float32Array(batch * time);
  for (const [b, length] of lengths.entries()) {
    mask.fill(-Infinity, b * time + Math.max(length, 1), (b + 1) * time);
  }
  return tensor(mask, { shape: [batch, 1, 1, time], dtype, device }).expand([batch, 1, time, time]);
}
