/** The comparison of a run's plan with the machine, before any work and before each stage. */
import { PareError } from '../errors';
import { leads } from '../ranks';
import type { RunOptions } from './context';
import { cudaFreeMemory } from '../torch/cuda';
import { isCuda } from '../torch/device';
import { availableHere, type Machine } from './machine';
import { planInputs, type PlanInputs } from './plan-inputs';
import { checkFit, type FitOptions } from './plan-fit';
import type { Recipe } from './recipe-schema';

/** A run's plan, held against the machine. */
export class FitCheck {
  private constructor(
    readonly file: string,
    readonly inputs: PlanInputs,
    readonly options: RunOptions,
  ) {}

  /**
   * Holds all stages that are not finished against the machine. Nothing is checked where the caller
   * asks for that, and by ranks that do not lead.
   * @throws PlanError
   */
  static async of(
    file: string,
    recipe: Recipe,
    options: RunOptions,
  ): Promise<FitCheck | undefined> {
    if (options.ignorePlan || !leads(options.ranks)) return undefined;
    try {
      const inputs = await planInputs(file, recipe, options).catch((error: unknown) => {
        // What cannot be planned cannot be run: the run says so better.
        if (error instanceof PareError) return undefined;
        throw error;
      });
      if (inputs === undefined) return undefined;
      const check = new FitCheck(file, inputs, options);
      check.#check();
      return check;
    } catch (error) {
      await options.ranks?.fail(error);
      throw error;
    }
  }

  /**
   * Holds a stage that is about to be made against what there is by now: it may have been taken for
   * finished, and other programs may have begun.
   * @throws PlanError
   */
  stage(name: string): void {
    // A round's number is not in the plan.
    this.#check([name.replace(/-\d+$/, '')]);
  }

  #check(stages?: readonly string[]): void {
    const { file, inputs, options } = this;
    const { device, recipe } = inputs;
    const here = (): Machine => ({
      ...availableHere(recipe.output),
      ...(isCuda(device) && { gpu: cudaFreeMemory(device) }),
    });
    const { machine = here(), ranks, env = process.env } = options;
    const processes = ranks === undefined ? 1 : Number(env.LOCAL_WORLD_SIZE ?? 1);
    const held: FitOptions = { machine, processes, stages };
    checkFit(file, inputs, held);
  }
}
