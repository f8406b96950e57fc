import { nn, type DType, type Generator, type Tensor } from '../torch';
import { completeConfig, loraScale, type LoraConfig } from './config';
import { LoraLinear, type LinearLike } from './lora-linear';
import { checkEveryTarget, selectTargets } from './targets';

/** The adapted layers of a model; see {@link attachLora}. */
export class LoraAdapter {
  /** @internal */
  constructor(
    readonly model: nn.Module,
    readonly config: Required<LoraConfig>,
    /** By their names in the model, in the model's order. */
    readonly layers: ReadonlyMap<string, LoraLinear>,
    /** @internal What was trainable before. */
    readonly frozen: readonly Tensor[],
  ) {}

  /** A and B of every layer, by their names in the model's state dict: all that is trained. */
  parameters(): Map<string, Tensor> {
    const result = new Map<string, Tensor>();
    for (const [name, layer] of this.layers) {
      for (const [own, value] of layer.ownTensors()) result.set(`${name}.${own}`, value);
    }
    return result;
  }

  /** Frees A and B. The base layers are not touched: detach or merge first. */
  dispose(): void {
    for (const value of this.parameters().values()) value.dispose();
  }
}

/**
 * Freezes a model and puts a {@link LoraLinear} in the place of every target layer. Models that
 * share those layers' parents get the adapter, too.
 * @param options.generator makes the start of A, in the order of the layers
 * @param options.dtype of A and B; float32 unless said otherwise
 * @throws LoraError when nothing matches or the model has an adapter; it is unchanged then.
 */
export function attachLora(
  model: nn.Module,
  config: LoraConfig,
  options: { generator: Generator; dtype?: DType },
): LoraAdapter {
  return wrapLayers(model, completeConfig(config), checkTargets(model, config), options);
}

/**
 * The linear layers that an adapter of this kind would have, by name.
 * @throws LoraError for settings that make no sense and for a target that names no linear layer
 */
export function checkTargets(model: nn.Module, config: LoraConfig): Map<string, LinearLike> {
  const { targetModules } = completeConfig(config);
  const targets = selectTargets(model, targetModules);
  checkEveryTarget(model, targetModules);
  return targets;
}

/** @internal {@link attachLora} on layers already selected. */
export function wrapLayers(
  model: nn.Module,
  config: Required<LoraConfig>,
  targets: ReadonlyMap<string, LinearLike>,
  options: { generator?: Generator; dtype?: DType },
): LoraAdapter {
  const { r, loraDropout: dropout } = config;
  const frozen = model.parameters();
  model.requiresGrad(false);
  const layers = new Map<string, LoraLinear>();
  nn.replaceModules(model, (name) => {
    const base = targets.get(name);
    if (base === undefined) return undefined;
    const layer = new LoraLinear(base, { r, scale: loraScale(config), dropout, ...options });
    layers.set(name, layer);
    return layer;
  });
  return new LoraAdapter(model, config, layers, frozen);
}

/**
 * Puts the base layers back and makes trainable again what was trainable before. A and B live on
 * in the adapter, which can still be saved.
 */
export function detachLora(adapter: LoraAdapter): void {
  const own = new Set<nn.Module>(adapter.layers.values());
  nn.replaceModules(adapter.model, (_, module) =>
    own.has(module) ? (module as LoraLinear).base : undefined,
  );
  for (const tensor of adapter.frozen) if (!tensor.disposed) tensor.requiresGrad = true;
}

/**
 * Adds every update to its base weight, in place, and detaches the adapter: the model is of plain
 * `nn.Linear` layers again. Models that share the weights see the change.
 * @throws LoraError when a base layer is quantised; nothing is changed then.
 */
export function mergeLora(adapter: LoraAdapter): void {
  for (const [name, layer] of adapter.layers) layer.mergeableBase(name);
  for (const layer of adapter.layers.values()) layer.merge();
  detachLora(adapter);
}

/** The state dict of a model without its adapter: the checkpoint's plain names and no others. */
export function baseStateDict(model: nn.Module): nn.StateDict {
  const result: nn.StateDict = new Map();
  for (const [prefix, module] of model.namedModules()) {
    if (module instanceof LoraLinear) continue;
    for (const [name, value] of module.ownTensors()) {
      result.set(prefix === '' ? name : `${prefix}.${name}`, value);
    }
  }
  return result;
}
