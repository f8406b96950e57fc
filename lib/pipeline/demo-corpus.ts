import { homedir } from 'node:os';
import { join } from 'node:path';
import type { DemoCorpusOptions } from '../data/demo';

/** Where the demo's corpus is kept: `PARE_CACHE`, or the user's cache folder. */
export function demoCorpusDir(): string {
  const cache =
    process.env.PARE_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'pare');
  return join(cache, 'demo-corpus');
}

/** Makes the demo's corpus unless the very same one is there. */
export async function ensureDemoCorpus(dir: string, options: DemoCorpusOptions): Promise<void> {
  // The synthesisers are development dependencies: loaded only by who asks for the demo.
  const { makeDemoCorpus } = await import('../data/demo');
  await makeDemoCorpus(dir, options);
}
