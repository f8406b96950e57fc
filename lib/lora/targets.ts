import { createContext, Script } from 'node:vm';
import { shown } from '../errors';
import type { nn } from '../torch';
import { LoraError, type TargetModules } from './config';
import { isLinear, LoraLinear, type LinearLike } from './lora-linear';

const allLinear = 'all-linear';
/** The output embedding, which `all-linear` leaves alone. */
const outputEmbedding = 'lm_head';

const lastPart = (name: string): string => name.slice(name.lastIndexOf('.') + 1);

/**
 * Whether a linear layer's name is a target (`check_target_module_exists` in PEFT).
 * @throws LoraError for a pattern that is no regular expression.
 */
export function targetMatcher(targets: TargetModules): (name: string) => boolean {
  if (typeof targets !== 'string') {
    return (name) => targets.some((target) => name === target || name.endsWith(`.${target}`));
  }
  if (targets.toLowerCase() === allLinear) return (name) => lastPart(name) !== outputEmbedding;
  let pattern: RegExp;
  try {
    pattern = new RegExp(`^(?:${targets})$`);
  } catch (cause) {
    throw new LoraError(
      `LoRA: targetModules ${shown(targets)} is no regular expression; ` +
        'give a list for plain names',
      { cause },
    );
  }
  const limited = new Script('pattern.test(name)');
  const context = createContext({ pattern, name: '' });
  return (name) => {
    context.name = name;
    try {
      return limited.runInContext(context, { timeout: patternMilliseconds }) as boolean;
    } catch (cause) {
      throw new LoraError(
        `LoRA: targetModules ${shown(targets)} takes too long on ${name}; ` +
          'give a pattern without nested repetitions, or a list of names',
        { cause },
      );
    }
  };
}

/** A pattern that comes with an adapter, such as `((.*)*)*x`, could keep a program for ever. */
const patternMilliseconds = 1000;

/**
 * The linear layers of a model that `targets` means, in the model's order, by their names in it.
 * @param nameOf the name that `targets` speaks of, for a module's name in the model
 * @throws LoraError when there are none or when a target is no linear layer.
 */
export function selectTargets(
  model: nn.Module,
  targets: TargetModules,
  nameOf: (name: string) => string = (name) => name,
): Map<string, LinearLike> {
  const matches = targetMatcher(targets);
  const everyLinear = typeof targets === 'string' && targets.toLowerCase() === allLinear;
  const linear: string[] = [];
  const result = new Map<string, LinearLike>();
  for (const [name, module] of model.namedModules()) {
    // The layer that it adapts follows under the same name.
    if (module instanceof LoraLinear) continue;
    const known = isLinear(module);
    if (known) linear.push(nameOf(name));
    if (name === '' || !matches(nameOf(name))) continue;
    if (known) result.set(name, module);
    else if (!everyLinear) {
      throw new LoraError(
        `LoRA: target ${nameOf(name)} is no linear layer but a ${module.constructor.name}; ` +
          'only linear layers can be adapted: name them in targetModules',
      );
    }
  }
  if (result.size === 0) throw new LoraError(noMatch(targets, linear));
  return result;
}

/**
 * PEFT passes in silence over entries of a list that match nothing; here a misspelt layer should
 * not go untrained.
 * @throws LoraError for an entry that names no linear layer of the model.
 */
export function checkEveryTarget(model: nn.Module, targets: TargetModules): void {
  if (typeof targets === 'string') return;
  const linear: string[] = [];
  for (const [name, module] of model.namedModules()) if (isLinear(module)) linear.push(name);
  for (const target of targets) {
    if (!linear.some(targetMatcher([target]))) throw new LoraError(noMatch([target], linear));
  }
}

function noMatch(targets: TargetModules, linear: readonly string[]): string {
  if (linear.length === 0) return 'LoRA: the model has no linear layer';
  const entries = typeof targets === 'string' ? targets.match(/[\w.]*\w/g)?.slice(-1) : targets;
  const short = (entries ?? []).filter((entry) => entry.length < 100);
  const near = short.slice(0, 20).flatMap((entry) => nearest(entry, linear));
  const hint = near.length > 0 ? `; near names: ${[...new Set(near)].slice(0, 5).join(', ')}` : '';
  return (
    `LoRA: no linear layer matches targetModules ${shown(targets)}${hint}; ` +
    `full names are such as ${linear[0]}`
  );
}

/** The three ends of names, of as many parts as `entry` has, that are spelt most like it. */
function nearest(entry: string, names: readonly string[]): string[] {
  const parts = entry.split('.').length;
  const ends = new Set(names.map((name) => name.split('.').slice(-parts).join('.')));
  return Array.from(ends, (end) => ({ end, distance: editDistance(entry, end) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ end }) => end);
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
