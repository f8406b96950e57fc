/** On a machine with a GPU: the tiny recipe there, beside the CPU. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRecipe } from '../../lib/pipeline';
import type { TrainingLogEntry } from '../../lib/train/loop';
import { onGpu } from '../gpu';
import { tinyCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe } from './tiny-recipe';

jest.setTimeout(600_000);

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-cuda-'));
  tinyCorpus(join(dir, 'corpus'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Losses of every step, by stage. */
async function lossesOn(device: string, interruptAt?: number): Promise<Record<string, number[]>> {
  const output = join(dir, `run-${device}${interruptAt === undefined ? '' : '-resumed'}`);
  const recipe = writeRecipe(dir, tinyRecipe(join(dir, 'corpus'), output));
  const losses: Record<string, number[]> = {};
  const stop = new AbortController();
  const onMetrics = (stage: string, { step, loss }: TrainingLogEntry): void => {
    (losses[stage] ??= [])[step - 1] = loss;
    if (stage === 'teacher' && step === interruptAt) stop.abort();
  };
  const run = runRecipe(recipe, { device, onMetrics, signal: stop.signal });
  if (interruptAt === undefined) await run;
  else {
    await expect(run).rejects.toThrow();
    await runRecipe(recipe, { device, onMetrics });
  }
  return losses;
}

onGpu('every stage learns on the GPU what it learns on the CPU', async () => {
  const [cpu, cuda] = [await lossesOn('cpu'), await lossesOn('cuda')];
  expect(Object.keys(cuda)).toEqual(Object.keys(cpu));
  // The first stage begins with the same weights; later ones with what another order of sums made.
  for (const [step, loss] of cuda.teacher!.entries()) {
    expect(Math.abs(loss / cpu.teacher![step]! - 1)).toBeLessThan(1e-2);
  }
});

onGpu('a run on the GPU that was interrupted goes on', async () => {
  const [whole, resumed] = [await lossesOn('cuda'), await lossesOn('cuda', 4)];
  for (const [step, loss] of resumed.teacher!.entries()) {
    expect(Math.abs(loss / whole.teacher![step]! - 1)).toBeLessThan(1e-2);
  }
});
