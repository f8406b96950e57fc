/** A small network and its training, for tests of the loop and of its checkpoints. */
import type { PareError } from '../../lib/errors';
import { Generator, nn, randn, type Tensor } from '../../lib/torch';
import type { TrainingLogEntry, TrainOptions } from '../../lib/train/loop';

/** Two layers with dropout between, so that a step depends on libtorch's random numbers. */
export class Network extends nn.Module {
  first: nn.Linear = new nn.Linear(6, 16, { generator: new Generator(1) });
  drop: nn.Dropout = new nn.Dropout(0.3);
  last: nn.Linear = new nn.Linear(16, 2, { generator: new Generator(2) });

  forward(x: Tensor): Tensor {
    return this.last.forward(this.drop.forward(this.first.forward(x)));
  }
}

export interface Micro {
  step: number;
  part: number;
}

export interface Run {
  network: Network;
  losses: number[];
  entries: TrainingLogEntry[];
  options: TrainOptions<Micro>;
}

/** Six steps of two micro-batches each, whose data depend on step and part alone. */
export function makeRun(overrides: Partial<TrainOptions<Micro>> = {}): Run {
  const network = new Network();
  const losses: number[] = [];
  const entries: TrainingLogEntry[] = [];
  const options: TrainOptions<Micro> = {
    parameters: new Map(network.namedParameters()),
    steps: 6,
    learningRate: 0.05,
    weightDecay: 0.01,
    maxGradNorm: 1,
    warmupSteps: 2,
    microBatches: (step) => [0, 1].map((part) => ({ step, part })),
    loss: ({ step, part }) => {
      const generator = new Generator(100 + 2 * step + part);
      const x = randn([4, 6], { generator });
      return {
        loss: network
          .forward(x)
          .sub(x.narrow(1, 0, 2))
          .square()
          .mean()
          .div(2),
      };
    },
    ...overrides,
    onStep: async (entry) => {
      entries.push(entry);
      losses.push(entry.loss);
      await overrides.onStep?.(entry);
    },
  };
  return { network, losses, entries, options };
}

export const values = (network: Network): number[][] =>
  [...network.namedParameters()].map(([, value]) => value.toArray());

export async function rejection(promise: Promise<unknown>): Promise<PareError> {
  try {
    await promise;
  } catch (error) {
    return error as PareError;
  }
  throw new Error('nothing was thrown');
}
