/** adapter_config.json: the part of PEFT's `LoraConfig` that can be honoured here. */
import { shown } from '../errors';
import { completeConfig, LoraError, type LoraConfig } from './config';

type Json = Record<string, unknown>;

/** What is read, and what says nothing about the arithmetic. Everything else must be off. */
const understood: ReadonlySet<string> = new Set([
  ...['peft_type', 'r', 'lora_alpha', 'lora_dropout', 'use_rslora', 'target_modules'],
  ...['auto_mapping', 'base_model_name_or_path', 'revision', 'task_type', 'inference_mode'],
  ...['peft_version', 'megatron_core', 'runtime_config', 'loftq_config', 'eva_config'],
  // Of no effect unless layers_to_transform or use_qalora is set.
  ...['layers_pattern', 'qalora_group_size'],
]);

/** Starts of A and B that leave the base's weights as they are. */
const harmlessStarts: ReadonlySet<unknown> = new Set([
  true,
  false,
  'gaussian',
  'eva',
  'orthogonal',
]);

function isOff(key: string, value: unknown): boolean {
  if (key === 'init_lora_weights') return harmlessStarts.has(value);
  if (key === 'bias') return value === 'none';
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0;
  return value === null || value === false;
}

/**
 * @param where the file's name, for errors
 * @throws LoraError for another kind of adapter, options that are not supported, and missing or
 * impossible values.
 */
export function parseAdapterConfig(raw: Json, where: string): Required<LoraConfig> {
  if (raw.peft_type !== 'LORA') {
    throw new LoraError(
      `${where}: peft_type is ${shown(raw.peft_type)}; only "LORA" can be loaded`,
    );
  }
  for (const [key, value] of Object.entries(raw)) {
    if (!understood.has(key) && !isOff(key, value)) {
      throw new LoraError(
        `${where}: ${key} ${shown(value)} is not supported; ` +
          'merge that adapter in PEFT, or train one without it',
      );
    }
  }
  const need = <T>(key: string, valid: (value: unknown) => value is T, fallback?: T): T => {
    const value = raw[key] ?? fallback;
    if (!valid(value)) {
      const found = value === undefined ? 'is missing' : `cannot be ${shown(value)}`;
      throw new LoraError(`${where}: ${key} ${found}; write the adapter again`);
    }
    return value;
  };
  const isNumber = (value: unknown): value is number => typeof value === 'number';
  const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
  const isTargets = (value: unknown): value is string | string[] =>
    typeof value === 'string' ||
    (Array.isArray(value) && value.every((item) => typeof item === 'string'));
  const config = {
    r: need('r', isNumber),
    loraAlpha: need('lora_alpha', isNumber),
    useRslora: need('use_rslora', isBoolean, false),
    loraDropout: need('lora_dropout', isNumber, 0),
    targetModules: need('target_modules', isTargets),
  };
  try {
    return completeConfig(config);
  } catch (cause) {
    throw new LoraError(`${where}: ${(cause as Error).message}`, { cause });
  }
}

export interface AdapterConfigFields {
  targetModules: readonly string[];
  baseModelNameOrPath: string | null;
  autoMapping: Json | null;
}

/** adapter_config.json with the keys that PEFT needs; it takes its defaults for the rest. */
export function formatAdapterConfig(
  config: Required<LoraConfig>,
  { targetModules, baseModelNameOrPath, autoMapping }: AdapterConfigFields,
): string {
  const json = {
    alpha_pattern: {},
    auto_mapping: autoMapping,
    base_model_name_or_path: baseModelNameOrPath,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: config.loraAlpha,
    lora_dropout: config.loraDropout,
    modules_to_save: null,
    peft_type: 'LORA',
    r: config.r,
    rank_pattern: {},
    revision: null,
    target_modules: targetModules,
    task_type: null,
    use_dora: false,
    use_rslora: config.useRslora,
  };
  return `${JSON.stringify(json, null, 2)}\n`;
}
