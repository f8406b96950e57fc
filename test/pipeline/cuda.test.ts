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

let runs = 0;

/** Losses of every step by stage, of a run of its own, which may be interrupted in the student. */
async function lossesOn(device: string, interruptAt?: number): Promise<Record<string, number[]>> {
  const recipe = tinyRecipe(join(dir, 'corpus'), join(dir, `run-${runs++}`));
  // What draws random numbers on the GPU, and draws them again in backward.
  recipe.distill = {
    ...recipe.distill,
    gradientCheckpointing: true,
    lora: { ...(recipe.distill.lora as object), loraDropout: 0.2 },
  };
  const file = writeRecipe(dir, recipe);
  const losses: Record<string, number[]> = {};
  const stop = new AbortController();
  const onMetrics = (stage: string, { step, loss }: TrainingLogEntry): void => {
    (losses[stage] ??= [])[step - 1] = loss;
    if (stage === 'QLoRA' && step === interruptAt) stop.abort();
  };
  const run = runRecipe(file, { device, onMetrics, signal: stop.signal });
  if (interruptAt === undefined) await run;
  else {
    await expect(run).rejects.toThrow();
    await runRecipe(file, { device, onMetrics });
  }
  return losses;
}

/** The largest share by which losses differ. */
function difference(some: readonly number[], others: readonly number[]): number {
  expect(some).toHaveLength(others.length);
  return Math.max(...some.map((loss, step) => Math.abs(loss / others[step]! - 1)));
}

onGpu('every stage runs; the first learns what it learns on the CPU', async () => {
  const [cpu, cuda] = [await lossesOn('cpu'), await lossesOn('cuda')];
  expect(Object.keys(cuda)).toEqual(Object.keys(cpu));
  // Later ones begin with what sums in another order made, and other layers may be gone.
  expect(difference(cuda.teacher!, cpu.teacher!)).toBeLessThan(1e-2);
});

onGpu('a run on the GPU that was interrupted goes on, dropout included', async () => {
  const [whole, resumed] = [await lossesOn('cuda'), await lossesOn('cuda', 3)];
  for (const stage of Object.keys(whole)) {
    expect(difference(resumed[stage]!, whole[stage]!)).toBeLessThan(1e-2);
  }
});
