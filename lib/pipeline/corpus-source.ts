import type { CorpusSource } from '../data';
import { demoCorpusDir } from './demo-corpus';
import type { Recipe } from './recipe-schema';

/** Where a recipe's corpus is: as it says, or where the demo's is kept. */
export function corpusSource({ path, hub, config, columns, demo }: Recipe['corpus']): CorpusSource {
  return { path: demo === undefined ? path : demoCorpusDir(demo), hub, config, columns };
}
