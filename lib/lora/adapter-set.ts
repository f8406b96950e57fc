/** Several adapters on one model: which there are, and which are in use. */
import type { nn, Tensor } from '../torch';
import type { LoraAdapter } from './adapter';
import { LoraError } from './config';
import { LoraLinear, type AdapterSwitch } from './lora-linear';

/** The name that an adapter has unless it is given one, as in PEFT. */
export const defaultAdapterName = 'default';

/** The adapters on a model; its LoRA layers share one of these. */
export class AdapterSet implements AdapterSwitch {
  /** By their names, in the order in which they were attached. */
  readonly adapters: Map<string, LoraAdapter> = new Map();
  /** Those that are chosen, whether or not adapters are disabled. */
  active: readonly string[] = [];
  enabled: boolean = true;

  /** @param frozen what was trainable before there was an adapter */
  constructor(readonly frozen: readonly Tensor[]) {}

  get inUse(): readonly string[] {
    return this.enabled ? this.active : [];
  }

  /** Chooses adapters. Those in use are trainable, as in PEFT, the others are not. */
  use(active: readonly string[], enabled: boolean): void {
    this.active = active;
    this.enabled = enabled;
    for (const [name, adapter] of this.adapters) {
      const trainable = this.inUse.includes(name);
      for (const value of adapter.parameters().values()) value.requiresGrad = trainable;
    }
  }

  /** Forgets an adapter. If it was the only one in use, the first of the rest by name takes over. */
  remove(name: string): void {
    this.adapters.delete(name);
    if (!this.active.includes(name)) return;
    const rest = this.active.filter((other) => other !== name);
    this.use(rest.length > 0 ? rest : [...this.adapters.keys()].sort().slice(0, 1), this.enabled);
  }
}

/** The adapters on a model, if it has any. */
export function adapterSetOf(model: nn.Module): AdapterSet | undefined {
  for (const [, module] of model.namedModules()) {
    if (module instanceof LoraLinear) return module.adapters as AdapterSet;
  }
  return undefined;
}

/**
 * @internal The adapters on a model, all of `names` among them.
 * @throws LoraError naming what is there
 */
export function needAdapters(model: nn.Module, names: readonly string[]): AdapterSet {
  const set = adapterSetOf(model);
  if (set === undefined) throw new LoraError('the model has no adapter; load one first');
  const unknown = names.find((name) => !set.adapters.has(name));
  if (unknown === undefined) return set;
  const known = [...set.adapters.keys()].map((name) => `'${name}'`).join(', ');
  throw new LoraError(`the model has no adapter '${unknown}'; it has ${known}`);
}

/** The names of a model's adapters, in the order in which they came; none is an empty list. */
export function adapterNames(model: nn.Module): string[] {
  return [...(adapterSetOf(model)?.adapters.keys() ?? [])];
}

/** The names of the adapters that take part now. */
export function activeAdapters(model: nn.Module): string[] {
  return [...(adapterSetOf(model)?.inUse ?? [])];
}

/**
 * Uses this adapter and no other, or these together (their updates are added, as in
 * `peft.LoraModel.set_adapter`), and enables adapters where they were disabled. The chosen ones are
 * trainable, the others not. Nothing is copied. Models that share the layers switch, too; a
 * generation that is under way would go on with the other adapter, so let it end before.
 * @throws LoraError for a name that is not there and for none; nothing changes then
 */
export function setAdapter(model: nn.Module, names: string | readonly string[]): void {
  const list = typeof names === 'string' ? [names] : [...names];
  const set = needAdapters(model, list);
  if (list.length === 0) {
    throw new LoraError('setAdapter: give a name, or disable the adapters (disableAdapter)');
  }
  set.use([...new Set(list)], true);
}

/**
 * Lets the base answer alone, until {@link enableAdapter} or {@link setAdapter}.
 * @throws LoraError if the model has no adapter
 */
export function disableAdapter(model: nn.Module): void {
  const set = needAdapters(model, []);
  set.use(set.active, false);
}

/**
 * Uses the adapters again that were in use before {@link disableAdapter}.
 * @throws LoraError if the model has no adapter
 */
export function enableAdapter(model: nn.Module): void {
  const set = needAdapters(model, []);
  set.use(set.active, true);
}
