/** Data-parallel training: every rank has all parameters and a share of each step's examples. */
import type { optim, Tensor } from '../torch';
import { tensor } from '../torch';
import { broadcastAll, GradientReducer, type ProcessGroup } from '../torch/distributed';

/** Numbers of a step, each summed over micro-batches and ranks. */
export interface Sums {
  loss: number;
  [metric: string]: number;
}

export function addTo(sums: Sums, more: Readonly<Record<string, number>>): void {
  for (const [name, number] of Object.entries(more)) sums[name] = (sums[name] ?? 0) + number;
}

export class DataParallel {
  readonly #reducer: GradientReducer;
  /** A rank was interrupted during the last step: all stop after it. */
  stopped: boolean = false;

  constructor(
    readonly group: ProcessGroup,
    readonly parameters: ReadonlyMap<string, Tensor>,
  ) {
    this.#reducer = new GradientReducer(group, [...parameters.values()]);
  }

  /** Gives all ranks the first one's parameters, optimiser and step; returns the step. */
  async beginAt(step: number, optimizer: optim.Optimizer): Promise<number> {
    const shared = tensor([step], { dtype: 'int64' });
    const state = optimizer.stateDict().values();
    await broadcastAll(this.group, [shared, ...this.parameters.values(), ...state]);
    const first = shared.item();
    shared.dispose();
    return first;
  }

  beforeLastBackward(): void {
    this.#reducer.arm();
  }

  /**
   * Sums gradients and numbers over the ranks.
   * @throws DistributedError when a rank is gone or does not answer in time
   */
  async sum(own: Sums, aborted: boolean): Promise<Sums> {
    await this.#reducer.finish();
    const all = await this.group.allGatherObject({ numbers: asTexts(own), aborted });
    this.stopped = all.some((rank) => rank.aborted);
    const sums: Sums = { loss: 0 };
    for (const { numbers } of all) addTo(sums, asNumbers(numbers));
    return sums;
  }

  close(): void {
    this.#reducer.close();
  }
}

// JSON has neither NaN nor infinity, which a loss may be.
function asTexts(sums: Sums): Record<string, string> {
  return Object.fromEntries(Object.entries(sums).map(([name, value]) => [name, String(value)]));
}
function asNumbers(texts: Record<string, string>): Record<string, number> {
  return Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, Number(text)]));
}
