import { finetune, trainingItems, type FinetuneOptions } from '../../../lib/compress';
import { distributed } from '../../../lib/torch';
import { languages, tinyTask } from '../../compress/tiny-task';

export interface Trained {
  losses: number[];
  tokens: number[];
  gradNorms: number[];
  weights: Record<string, number[]>;
}

/** Fine-tunes the tiny model, alone or with the ranks that the environment tells of. */
export async function main(
  argument: {
    options: FinetuneOptions;
    timeoutSeconds?: number;
    /** Ends this rank by a signal before a step is logged. */
    kill?: { rank: number; step: number };
    /** Stops by its AbortSignal after a step. */
    abort?: { rank: number; step: number };
    pause?: number;
  },
  say: (what: unknown) => void = () => undefined,
): Promise<Trained> {
  const { timeoutSeconds = 120, kill, abort, pause = 0 } = argument;
  const task = await tinyTask();
  try {
    const group =
      process.env.WORLD_SIZE === undefined
        ? undefined
        : await distributed.initProcessGroupFromEnvironment({ timeoutSeconds });
    const model = task.newModel(2);
    const items = trainingItems(task.splits.train.slice(0, 14), languages);
    const result: Trained = { losses: [], tokens: [], gradNorms: [], weights: {} };
    const controller = new AbortController();
    const adapter = await finetune(model, items, task.features, {
      ...argument.options,
      group,
      signal: controller.signal,
      onStep: async ({ step, loss, tokens, gradNorm }) => {
        if (kill?.step === step && kill.rank === group?.rank) process.kill(process.pid, 'SIGKILL');
        if (abort?.step === step && abort.rank === (group?.rank ?? 0)) controller.abort();
        result.losses.push(loss);
        result.tokens.push(tokens!);
        result.gradNorms.push(gradNorm);
        say({ step });
        await new Promise((resolve) => setTimeout(resolve, pause));
      },
    });
    const trained = adapter?.parameters() ?? model.stateDict();
    for (const [name, tensor] of trained) result.weights[name] = tensor.detach().toArray();
    distributed.destroyProcessGroup();
    return result;
  } finally {
    task.dispose();
  }
}
