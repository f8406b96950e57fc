import { evaluateModel, searchLayers, type ImportanceResult } from '../../../lib/compress';
import { Ranks } from '../../../lib/ranks';
import { JsonLines } from '../../../lib/json-lines';
import { languages, tinyTask, withOwnAnswers } from '../../compress/tiny-task';

export interface Searched {
  search: ImportanceResult;
  texts: string[][];
  scores: unknown[];
  /** Candidates in the leader's trace. */
  traced: string[];
}

/** Searches the tiny model's layers and evaluates it, alone or with other ranks. */
export async function main(
  { trace, stop }: { trace: string; stop?: { rank: number; done: number } },
  say: (what: unknown) => void = () => undefined,
): Promise<Searched> {
  const task = await tinyTask();
  try {
    const ranks = await Ranks.fromEnvironment({ timeoutSeconds: 120, heartbeatSeconds: 3 });
    const model = task.newModel(5);
    const dev = await withOwnAnswers(model, task.features, task.splits.dev, 8);
    const generation = { maxNewTokens: 8, batchSize: 2, ranks };
    /** Says that it is there, and waits to be killed. */
    const perhapsStop = (done: number): void => {
      if (stop?.rank !== ranks?.rank || stop?.done !== done) return;
      say('waiting');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600_000);
    };
    const search = await searchLayers(model, task.features, dev, languages, {
      ...generation,
      ...{ remove: 2, criterion: { de: 'chrf++', zh: 'loss' }, trace, fingerprint: 'f' },
      onProgress: perhapsStop,
    });
    const test = task.splits.test;
    const evaluations = await evaluateModel(model, task.features, test, languages, {
      ...generation,
      samples: 20,
    });
    await ranks?.close();
    const lines = new JsonLines<{ iteration: number; layer: number }>(trace).read();
    return {
      search,
      texts: evaluations.map(({ texts }) => texts),
      scores: evaluations.map(({ scores }) => scores),
      traced: lines.map(({ iteration, layer }) => `${iteration} ${layer}`).sort(),
    };
  } finally {
    task.dispose();
  }
}
