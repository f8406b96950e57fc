import { homedir } from 'node:os';
import { join } from 'node:path';
import type { DemoCorpusOptions } from '../data/demo';
import type { Recipe } from './recipe-schema';
import { hashOf } from './run-folder';

/**
 * Where the demo's corpus is kept: `PARE_CACHE`, or the user's cache folder. One of other settings
 * than the demo's own has a folder of its own, so that neither replaces the other.
 */
export function demoCorpusDir(settings: Recipe['corpus']['demo'] = {}): string {
  const cache =
    process.env.PARE_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'pare');
  const own = Object.keys(settings).length === 0;
  return join(cache, own ? 'demo-corpus' : `demo-corpus-${hashOf(settings).slice(0, 8)}`);
}

/** Makes the demo's corpus unless the very same one is there. */
export async function ensureDemoCorpus(dir: string, options: DemoCorpusOptions): Promise<void> {
  // The synthesisers are development dependencies: loaded only by who asks for the demo.
  const { makeDemoCorpus } = await import('../data/demo');
  await makeDemoCorpus(dir, options);
}
