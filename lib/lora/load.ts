import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { named } from '../errors';
import { fileError } from '../files';
import { noGrad, readSafetensors, scope } from '../torch';
import type { nn, SafetensorsFile } from '../torch';
import { checkName, wrapLayers, type AttachOptions, type LoraAdapter } from './adapter';
import { LoraError, type LoraConfig } from './config';
import type { LinearLike } from './lora-linear';
import { parseAdapterConfig } from './peft-config';
import { inMemoryName, parseKey, publicName } from './peft-names';
import { adapterConfigFile, adapterModelFile } from './save';
import { selectTargets } from './targets';

/** Keys of a layer's tensors in the file, by `lora_A` and `lora_B`. */
type Keys = Map<string, Map<string, string>>;

/**
 * Attaches an adapter that PEFT or {@link saveAdapter} wrote, with the tensor names of
 * transformers 5 or 4. The first on a model is in use at once, a further one when `setAdapter`
 * chooses it, as in PEFT.
 * @param options.dtype of A and B; float32 unless said otherwise, whatever the file has, as in PEFT
 * @throws LoraError for a name that is taken, options that are not supported, tensors that are
 * missing, unexpected or do not fit the model; FileError and SafetensorsError for the files. The
 * model is unchanged then.
 */
export function loadAdapter(
  dir: string,
  model: nn.Module,
  options: AttachOptions = {},
): LoraAdapter {
  checkName(model, options.name);
  const configPath = join(dir, adapterConfigFile);
  const { config, base } = readConfig(configPath);
  const file = readSafetensors(join(dir, adapterModelFile));
  try {
    const keys = readKeys(file);
    const targets = selectLayers(configPath, file.path, model, config, keys);
    checkShapes(file, targets, keys, config.r, base);
    const adapter = wrapLayers(model, config, targets, options);
    scope(() =>
      noGrad(() => {
        for (const [name, update] of adapter.layers) {
          for (const [own, value] of update.namedTensors()) {
            value.copy_(file.tensor(keys.get(name)!.get(own)!));
          }
        }
      }),
    );
    return adapter;
  } finally {
    file.close();
  }
}

function readConfig(path: string): { config: Required<LoraConfig>; base: string } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('read', path, error);
  }
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (cause) {
    throw new LoraError(`${path} is not JSON (${(cause as Error).message}); fetch it again`, {
      cause,
    });
  }
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw new LoraError(`${path} must hold an object; fetch it again`);
  }
  const json = raw as Record<string, unknown>;
  return {
    config: parseAdapterConfig(json, path),
    base:
      typeof json.base_model_name_or_path === 'string' ? json.base_model_name_or_path : 'unknown',
  };
}

function readKeys(file: SafetensorsFile): Keys {
  const keys: Keys = new Map();
  for (const key of file.names()) {
    const parsed = parseKey(key);
    if (parsed === undefined) {
      throw new LoraError(`${file.path}: unexpected tensor ${key}; only A and B of LoRA are known`);
    }
    const name = publicName(parsed.module);
    const own = keys.get(name) ?? new Map<string, string>();
    if (own.has(parsed.tensor)) {
      throw new LoraError(`${file.path}: ${key} is there twice, under the names of two versions`);
    }
    keys.set(name, own.set(parsed.tensor, key));
  }
  return keys;
}

/** The layers that the configuration means, which must be those that the file has. */
function selectLayers(
  configPath: string,
  path: string,
  model: nn.Module,
  config: Required<LoraConfig>,
  keys: Keys,
): Map<string, LinearLike> {
  // A pattern speaks of names as the writer's model had them.
  const inMemory = [...keys.values()].some((own) =>
    [...own.values()].some((key) => parseKey(key)!.module !== publicName(parseKey(key)!.module)),
  );
  let targets: Map<string, LinearLike>;
  try {
    targets = selectTargets(model, config.targetModules, inMemory ? inMemoryName : undefined);
  } catch (error) {
    throw named(configPath, error);
  }
  for (const [name, own] of keys) {
    if (targets.has(name)) continue;
    const [key] = own.values();
    throw new LoraError(
      `${path}: unexpected tensor ${key}: the model has no such layer, or target_modules does not ` +
        'name it; is the adapter of another base (more layers)?',
    );
  }
  for (const name of targets.keys()) {
    for (const own of ['lora_A', 'lora_B']) {
      if (keys.get(name)?.has(own)) continue;
      throw new LoraError(
        `${path}: ${own}.weight of ${name} is missing; is the adapter of another base (fewer layers)?`,
      );
    }
  }
  return targets;
}

function checkShapes(
  file: SafetensorsFile,
  targets: ReadonlyMap<string, LinearLike>,
  keys: Keys,
  r: number,
  base: string,
): void {
  for (const [name, { inFeatures, outFeatures }] of targets) {
    for (const [own, key] of keys.get(name)!) {
      const { shape, dtype } = file.info(key);
      const want = own === 'lora_A' ? [r, inFeatures] : [outFeatures, r];
      if (!dtype.includes('float')) {
        throw new LoraError(`${file.path}: ${key} is ${dtype}; an adapter's tensors are floats`);
      }
      if (shape.join() !== want.join()) {
        throw new LoraError(
          `${file.path}: ${key} has shape [${shape.join(', ')}], r ${r} and the model need ` +
            `[${want.join(', ')}]; load it on its own base (${base})`,
        );
      }
    }
  }
}
