/** The layers that a recipe removes, held against the teacher's decoder. */
import { checkRemoval, middleBlock } from '../compress';
import type { Recipe } from './recipe-schema';

/**
 * Whether a decoder of `count` layers can be pruned as a recipe says.
 * @throws CompressionError as {@link checkRemoval} and {@link middleBlock}
 */
export function checkLayers({ importance }: Recipe, count: number): void {
  if (importance === undefined) return;
  if (importance.method === 'middle') middleBlock(count, importance);
  else checkRemoval(count, importance);
}
