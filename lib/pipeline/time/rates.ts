/** Costs that are not a model's: sound, files, and the statistics of scores. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { scoreTranslations } from '../../compress';
import { quantizeNf4 } from '../../nf4';
import { Processor } from '../../qwen2-audio';
import { keep, optim, randn, scope, type Tensor } from '../../torch';
import { saveCheckpoint } from '../../train/checkpoint';
import { Features } from '../../train/examples';
import type { PlannedStage } from '../plan';
import type { PlanInputs } from '../plan-inputs';
import { spread, type ProbeTexts } from './probe-texts';
import type { Budget } from './stopwatch';

/** Costs that are not a model's, in seconds of the processors. */
export interface Rates {
  /** For a second of audio, read, decoded and made into features. */
  audio: number;
  /** For a parameter that is read and converted. */
  load: number;
  /** For a byte of a checkpoint that is written, digest included. */
  write: number;
  /** For a value that is packed into 4 bits. */
  pack: number;
  /** For a sentence and a sample of the bootstrap, all metrics. */
  bootstrap: number;
}

/** Bytes of a checkpoint that is written for its time. */
const [least, most] = [50e6, 300e6];

/** Times a little of each. */
export async function measureRates(
  inputs: PlanInputs,
  stages: readonly PlannedStage[],
  { tokenizer }: ProbeTexts,
  budget: Budget,
): Promise<Rates> {
  const { corpus, splits, shape } = inputs;
  // Files of the size that is written: pages that the kernel clears are a part of what writing costs, the
  // more so the more there are.
  const written = Math.max(...stages.map(({ trained, disk }) => Math.max(12 * trained, disk)));
  const parameters = Math.min(most, Math.max(least, written)) / 12;
  const numbers = keep(scope(() => randn([Math.ceil(parameters / 2048), 2048])));
  const few = keep(scope(() => randn([64])));
  const dir = mkdtempSync(join(tmpdir(), 'pare-plan-'));
  try {
    const count = numbers.numel;
    const cast = (tensor: Tensor): void => scope(() => void tensor.to('bfloat16').to('float32'));
    cast(few);
    const load = (await budget.time(() => cast(numbers))) / 2 / count;
    const pack = (await budget.time(() => scope(() => void quantizeNf4(numbers)))) / count;
    const options = { dir, everySteps: 1, fingerprint: '' };
    const save = async (tensor: Tensor): Promise<number> => {
      const named = new Map([['numbers', tensor]]);
      const optimizer = new optim.AdamW([{ parameters: named, weightDecay: 0 }]);
      const seconds = await budget.time(() => saveCheckpoint(options, named, optimizer, 1));
      optimizer.dispose();
      return seconds;
    };
    // The first time code is compiled.
    await save(few);
    const write = (await save(numbers)) / (12 * count);
    const bootstrap = await measureBootstrap(inputs, budget);
    let audio = 0;
    const some = corpus === undefined ? [] : spread([...splits.dev, ...splits.test], 12);
    if (some.length > 0) {
      const processor = new Processor({
        tokenizer,
        maxSourcePositions: shape.audio.maxSourcePositions,
        nMels: shape.audio.numMelBins,
      });
      // The first ones pay for code that is compiled when it is first used.
      await new Features(corpus!, processor).load(some.slice(0, 2), { quiet: true });
      const seconds = await budget.time(() =>
        new Features(corpus!, processor).load(some, { quiet: true }),
      );
      audio = seconds / some.reduce((sum, u) => sum + u.seconds, 0);
    }
    return { audio, load, write, pack, bootstrap };
  } finally {
    numbers.dispose();
    few.dispose();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function measureBootstrap({ splits, recipe }: PlanInputs, budget: Budget): Promise<number> {
  const [language] = recipe.languages;
  const some = spread(splits.test, 50).map((u) => u.translations[language!] ?? u.text);
  if (some.length === 0) return 0;
  const samples = 100;
  const score = (): void => void scoreTranslations(some, some, language!, { samples });
  await budget.time(score);
  return (await budget.time(score)) / (some.length * samples);
}
