import { PareError } from '../../errors';
import { noGrad } from '../autograd';
import { keep, scope, type TensorOwner } from '../scope';
import { isFloating } from '../dtype';
import { Tensor } from '../tensor';

/** A state dict and a module do not fit. */
export class StateDictError extends PareError {}

/** Tensors by their full names; those of the module themselves, not copies. */
export type StateDict = Map<string, Tensor>;

/** The Hugging Face name of a property: `qProj` is `q_proj`, `layers` stays. */
export function snakeCase(property: string): string {
  return property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/**
 * The base of every network part, as torch.nn.Module. Own properties that are tensors are its
 * parameters, properties that are modules or arrays of modules are its children; private (`#`)
 * fields are neither. Names in state dicts are the properties' names in snake case, so that
 * `selfAttn.qProj.weight` is `self_attn.q_proj.weight` in a checkpoint.
 */
export abstract class Module implements TensorOwner {
  training: boolean = true;

  /** Direct children with their names. */
  *namedChildren(): IterableIterator<[string, Module]> {
    for (const [property, value] of Object.entries(this) as [string, unknown][]) {
      const name = snakeCase(property);
      if (value instanceof Module) yield [name, value];
      else if (Array.isArray(value)) {
        for (const [i, item] of value.entries()) {
          if (item instanceof Module) yield [`${name}.${i}`, item];
        }
      }
    }
  }

  /** This module and all below it, parents first; the name of the root is empty. */
  *namedModules(prefix: string = ''): IterableIterator<[string, Module]> {
    yield [prefix, this];
    for (const [name, child] of this.namedChildren()) {
      yield* child.namedModules(prefix === '' ? name : `${prefix}.${name}`);
    }
  }

  /** The tensors of this module alone, by name; a quantised layer has several to a weight. */
  *ownTensors(): IterableIterator<[string, Tensor]> {
    for (const [property, value] of Object.entries(this) as [string, unknown][]) {
      if (value instanceof Tensor) yield [snakeCase(property), value];
    }
  }

  /** Parameters and persistent buffers with their full names. */
  *namedTensors(): IterableIterator<[string, Tensor]> {
    for (const [prefix, module] of this.namedModules()) {
      for (const [name, value] of module.ownTensors()) {
        yield [prefix === '' ? name : `${prefix}.${name}`, value];
      }
    }
  }

  /** The tensors that training changes. */
  *namedParameters(): IterableIterator<[string, Tensor]> {
    for (const entry of this.namedTensors()) if (entry[1].requiresGrad) yield entry;
  }

  /** The tensors that training changes, without their names. */
  parameters(): Tensor[] {
    return Array.from(this.namedParameters(), ([, parameter]) => parameter);
  }

  /** @internal What leaves a scope with this module. */
  *ownedTensors(): Iterable<Tensor> {
    for (const [, value] of this.namedTensors()) yield value;
  }

  /** Parameters and persistent buffers by their full names, in the order of the properties. */
  stateDict(): StateDict {
    return new Map(this.namedTensors());
  }

  /**
   * Copies values into this module's tensors, dtype and device kept.
   * @throws StateDictError naming the first missing, unexpected or misshapen tensor.
   */
  loadStateDict(state: ReadonlyMap<string, Tensor>): void {
    const own = this.stateDict();
    for (const name of state.keys()) {
      if (!own.has(name)) throw new StateDictError(`unexpected tensor ${name} in the state dict`);
    }
    scope(() =>
      noGrad(() => {
        for (const [name, target] of own) {
          const source = state.get(name);
          if (source === undefined) {
            throw new StateDictError(`tensor ${name} is missing in the state dict`);
          }
          const [have, want] = [source.shape, target.shape];
          if (have.join() !== want.join()) {
            throw new StateDictError(
              `tensor ${name} has shape [${have}], the model needs [${want}]`,
            );
          }
          target.copy_(source);
        }
      }),
    );
  }

  /** @internal Throws where a module cannot be moved as it stands. */
  checkMove(_device: string): void {
    // Tensors can.
  }

  /**
   * Moves all tensors of this module and of those below it. They are new tensors then: optimisers are
   * made afterwards, and so are adapters.
   * @param device `cpu`, `cuda` or `cuda:1`
   * @throws PareError of a part that is where it was loaded, before anything is moved
   */
  to(device: string): this {
    for (const [, module] of this.namedModules()) module.checkMove(device);
    const properties = this as unknown as Record<string, unknown>;
    for (const [property, value] of Object.entries(properties)) {
      if (!(value instanceof Tensor) || value.device === device) continue;
      const { dtype, requiresGrad } = value;
      properties[property] = parameter(
        noGrad(() => value.to(dtype, device)),
        requiresGrad,
      );
      value.dispose();
    }
    for (const [, child] of this.namedChildren()) child.to(device);
    return this;
  }

  /** Training mode for all modules from here down: dropout and gradient checkpointing need it. */
  train(mode: boolean = true): this {
    for (const [, module] of this.namedModules()) module.training = mode;
    return this;
  }

  /** The opposite of {@link train}. */
  eval(): this {
    return this.train(false);
  }

  /** Freezes or unfreezes all below; integer tensors, and what a subclass holds fixed, stay frozen. */
  requiresGrad(value: boolean): this {
    for (const [, own] of this.ownTensors()) {
      if (!value || isFloating(own.dtype)) own.requiresGrad = value;
    }
    for (const [, child] of this.namedChildren()) child.requiresGrad(value);
    return this;
  }

  /** Frees the tensors of this module and of all below it. */
  dispose(): void {
    for (const [, value] of this.namedTensors()) value.dispose();
  }

  /** `dispose()`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Marks a tensor as trainable and keeps it out of every scope. */
export function parameter(value: Tensor, requiresGrad: boolean = true): Tensor {
  const detached = value.isLeaf ? value : value.detach();
  detached.requiresGrad = requiresGrad;
  return keep(detached);
}

/**
 * Replaces modules below `root`: `replace` sees each with its full name and returns another
 * module, or undefined to leave it. A replaced module's own children are not visited.
 */
export function replaceModules(
  root: Module,
  replace: (name: string, module: Module) => Module | undefined,
  prefix: string = '',
): void {
  const visit = (name: string, child: Module, put: (module: Module) => void): void => {
    const full = prefix === '' ? name : `${prefix}.${name}`;
    const other = replace(full, child);
    if (other === undefined) replaceModules(child, replace, full);
    else put(other);
  };
  for (const [property, value] of Object.entries(root) as [string, unknown][]) {
    const name = snakeCase(property);
    if (value instanceof Module) {
      visit(name, value, (module) => Reflect.set(root, property, module));
    } else if (Array.isArray(value)) {
      const items = value as unknown[];
      for (const [i, item] of items.entries()) {
        if (item instanceof Module) visit(`${name}.${i}`, item, (module) => (items[i] = module));
      }
    }
  }
}
