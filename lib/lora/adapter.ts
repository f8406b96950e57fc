import { nn, noGrad, scope, type DType, type Generator, type Tensor } from '../torch';
import { AdapterSet, adapterSetOf, defaultAdapterName, needAdapters } from './adapter-set';
import { completeConfig, LoraError, loraScale, type LoraConfig } from './config';
import { LoraLinear, LoraUpdate, type LinearLike } from './lora-linear';
import { checkEveryTarget, selectTargets } from './targets';

export interface AttachOptions {
  /** By which it is chosen among several; `default` unless given. */
  name?: string;
  /** Of A and B; float32 unless said otherwise. */
  dtype?: DType;
}

/** An adapter on a model; see {@link attachLora}. */
export class LoraAdapter {
  /** @internal */
  constructor(
    readonly model: nn.Module,
    readonly name: string,
    readonly config: Required<LoraConfig>,
    /** By the layers' names in the model, in the model's order. */
    readonly layers: ReadonlyMap<string, LoraUpdate>,
  ) {}

  /** A and B of every layer, by their names in the model's state dict: all that is trained. */
  parameters(): Map<string, Tensor> {
    const result = new Map<string, Tensor>();
    for (const [layer, update] of this.layers) {
      for (const [own, value] of update.namedTensors()) {
        result.set(`${layer}.${own}.${this.name}.weight`, value);
      }
    }
    return result;
  }

  /** Frees A and B. The base layers are not touched: detach or merge first. */
  dispose(): void {
    for (const value of this.parameters().values()) value.dispose();
  }
}

/**
 * Freezes a model and puts a {@link LoraLinear} in the place of every target layer. The first
 * adapter on a model is in use at once, a further one when `setAdapter` chooses it. Models that
 * share those layers' parents get the adapter, too.
 * @param options.generator makes the start of A, in the order of the layers
 * @throws LoraError when nothing matches or the name is taken; the model is unchanged then.
 */
export function attachLora(
  model: nn.Module,
  config: LoraConfig,
  options: AttachOptions & { generator: Generator },
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

/**
 * @internal The name for a new adapter.
 * @throws LoraError if the model has one of that name, or PEFT could not use it
 */
export function checkName(model: nn.Module, name: string = defaultAdapterName): string {
  if (name === '' || name.includes('.')) {
    throw new LoraError(
      `an adapter cannot be called ${JSON.stringify(name)}; give a name without dots`,
    );
  }
  if (adapterSetOf(model)?.adapters.has(name)) {
    throw new LoraError(
      `the model has an adapter '${name}' already; give this one another name, or delete or ` +
        'merge that one first',
    );
  }
  return name;
}

/** @internal {@link attachLora} on layers already selected. */
export function wrapLayers(
  model: nn.Module,
  config: Required<LoraConfig>,
  targets: ReadonlyMap<string, LinearLike>,
  options: AttachOptions & { generator?: Generator },
): LoraAdapter {
  const { generator, dtype } = options;
  const name = checkName(model, options.name);
  const { r, loraDropout: dropout } = config;
  const scale = loraScale(config);
  const set = adapterSetOf(model) ?? new AdapterSet(model.parameters());
  if (set.adapters.size === 0) model.requiresGrad(false);
  const updates = new Map<string, LoraUpdate>();
  nn.replaceModules(model, (layerName, module) => {
    if (!targets.has(layerName)) return undefined;
    const layer = module instanceof LoraLinear ? module : new LoraLinear(module as LinearLike, set);
    const update = new LoraUpdate(layer.base, { r, scale, dropout, dtype, generator });
    layer.updates.set(name, update);
    updates.set(layerName, update);
    return layer;
  });
  const adapter = new LoraAdapter(model, name, config, updates);
  set.adapters.set(name, adapter);
  if (set.adapters.size === 1) set.use([name], true);
  else set.use(set.active, set.enabled);
  return adapter;
}

/**
 * Takes an adapter off its model. Layers that no other adapter adapts are the base layers again;
 * after the last adapter, what was trainable before is so again. A and B live on in the adapter,
 * which can still be saved.
 */
export function detachLora(adapter: LoraAdapter): void {
  const { model, name } = adapter;
  const set = adapterSetOf(model);
  if (set?.adapters.get(name) !== adapter) return;
  nn.replaceModules(model, (_, module) => {
    if (!(module instanceof LoraLinear)) return undefined;
    module.updates.delete(name);
    return module.updates.size === 0 ? module.base : module;
  });
  set.remove(name);
  if (set.adapters.size > 0) return;
  for (const tensor of set.frozen) if (!tensor.disposed) tensor.requiresGrad = true;
}

/**
 * Takes an adapter off the model and frees it. If it was the only one in use, the first of the
 * others by name takes its place, as in PEFT; after the last, the model is as it was before.
 * @throws LoraError for a name that is not there
 */
export function deleteAdapter(model: nn.Module, name: string): void {
  const adapter = needAdapters(model, [name]).adapters.get(name)!;
  detachLora(adapter);
  adapter.dispose();
}

/**
 * Makes every update a part of its base layer and detaches the adapter. Without `into`, the update
 * is added to the weight in place and rounded once, and models that share the weights see the
 * change.
 * @param into gives the layer that takes the base's place, for an update `deltaWeight()`
 * @throws LoraError without `into` when a base layer is quantised; nothing is changed then.
 */
export function mergeLora(
  adapter: LoraAdapter,
  into?: (base: LinearLike, update: LoraUpdate, name: string) => LinearLike,
): void {
  const layers = [...adapter.model.namedModules()].filter(
    (entry): entry is [string, LoraLinear] =>
      entry[1] instanceof LoraLinear && entry[1].updates.get(adapter.name) !== undefined,
  );
  if (into === undefined) for (const [name, layer] of layers) layer.mergeableBase(name);
  for (const [name, layer] of layers) {
    const update = layer.updates.get(adapter.name)!;
    if (into === undefined) addToWeight(layer.mergeableBase(name), update);
    else layer.base = into(layer.base, update, name);
  }
  detachLora(adapter);
}

/** Adds an update to a weight of full precision, in place, summed in float32 and rounded once. */
export function addToWeight(base: nn.Linear, update: LoraUpdate): void {
  scope(() => noGrad(() => base.weight.copy_(base.weight.add(update.deltaWeight()))));
}

/** The state dict of a model without its adapters: the checkpoint's plain names and no others. */
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
