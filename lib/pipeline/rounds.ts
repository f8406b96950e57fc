/** Pruning with healing in between: some layers go, what is left is trained, and so on. */
import type { ImportanceResult } from '../compress';
import { readConfig } from '../qwen2-audio';
import type { Context } from './context';
import type { FeatureCache } from './models';
import {
  healStage,
  importanceStage,
  pruneStage,
  sourceOf,
  type Distillation,
  type Source,
} from './stages/compress';
import { logPath } from './training-log';

export interface Rounds {
  source: Source;
  /** The searches of all rounds as one, layers by their number in the teacher. */
  search: ImportanceResult;
  logs: { stage: string; path: string }[];
}

/** Removes `importance.remove` layers and heals after each `heal.every` of them. */
export async function removeInRounds(
  context: Context,
  features: FeatureCache,
  teacher: Source,
  texts: Distillation | undefined,
): Promise<Rounds> {
  const { remove, protectedLayers } = context.recipe.importance!;
  const every = context.recipe.heal!.every!;
  const layers = readConfig(teacher.model).text.numHiddenLayers;
  let left = Array.from({ length: layers }, (_, i) => i);
  const search: ImportanceResult = { removed: [], kept: left, fullScore: NaN, iterations: [] };
  const logs: Rounds['logs'] = [];
  let source = teacher;
  for (let round = 1; search.removed.length < remove; round++) {
    const now = left;
    const found = await importanceStage(context, features, source, {
      name: `importance-${round}`,
      remove: Math.min(every, remove - search.removed.length),
      // The first and the last layer stay what they are; others move up.
      protectedLayers: protectedLayers.map((layer) => now.indexOf(layer)),
    });
    const { removed, kept, iterations, fullScore } = found.result;
    const original = (layer: number): number => now[layer]!;
    if (round === 1) search.fullScore = fullScore;
    search.removed.push(...removed.map(original));
    search.iterations.push(
      ...iterations.map((iteration) => ({
        removed: original(iteration.removed),
        candidates: iteration.candidates.map((c) => ({ ...c, layer: original(c.layer) })),
      })),
    );
    left = kept.map(original);
    const chosen = { importance: found.artifact.hash };
    const pruned = await pruneStage(context, source, chosen, kept, `pruned-${round}`);
    const healed = await healStage(context, features, sourceOf(pruned), texts, round);
    logs.push({ stage: `healing ${round}`, path: logPath(healed) });
    source = sourceOf(healed);
  }
  return { source, search: { ...search, kept: left }, logs };
}
