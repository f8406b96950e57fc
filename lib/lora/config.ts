import { PareError } from '../errors';

/** An adapter does not fit its model, its file or its options. */
export class LoraError extends PareError {}

/**
 * Which linear layers get an adapter, with PEFT's meaning, over the module names of the checkpoint
 * (`language_model.model.layers.0.self_attn.q_proj`):
 * - `'all-linear'`: every linear layer but the output embedding (`lm_head`);
 * - a list: names, or ends of names after a dot (`q_proj`, `self_attn.q_proj`);
 * - any other string: a regular expression that a whole name must match.
 */
export type TargetModules = string | readonly string[];

/** Low-rank adaptation (Hu et al. 2022); the defaults are those of PEFT's `LoraConfig`. */
export interface LoraConfig {
  /** Rank of the update. */
  r: number;
  loraAlpha: number;
  /** Scale by alpha / sqrt(r) and not alpha / r (rank-stabilised, Kalajdzievski 2023). */
  useRslora?: boolean;
  /** Probability with which an element of a layer's input to the update is dropped in training. */
  loraDropout?: number;
  /** Without it, `'all-linear'`. */
  targetModules?: TargetModules;
}

/**
 * The configuration with its defaults.
 * @throws LoraError for values that no adapter can have.
 */
export function completeConfig(config: LoraConfig): Required<LoraConfig> {
  const { r, loraAlpha, useRslora = false, loraDropout = 0, targetModules = 'all-linear' } = config;
  if (!Number.isInteger(r) || r < 1) {
    throw new LoraError(`LoRA: r must be a whole number of at least 1, not ${r}`);
  }
  if (!(loraAlpha > 0) || !Number.isFinite(loraAlpha)) {
    throw new LoraError(`LoRA: loraAlpha must be a positive number, not ${loraAlpha}`);
  }
  if (!(loraDropout >= 0 && loraDropout < 1)) {
    throw new LoraError(`LoRA: loraDropout must be at least 0 and below 1, not ${loraDropout}`);
  }
  return { r, loraAlpha, useRslora, loraDropout, targetModules };
}

/** The factor of the update B(A(x)). */
export function loraScale(config: LoraConfig): number {
  return config.loraAlpha / (config.useRslora ? Math.sqrt(config.r) : config.r);
}
