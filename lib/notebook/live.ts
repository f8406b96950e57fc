/** Long work in a cell: how far it is, redrawn in place, and an end when the kernel is interrupted. */
import { setImmediate } from 'node:timers/promises';
import { curveOf, type Artifact, type Progress, type RunOptions } from '../pipeline';
import { trainingFigure } from '../report';
import { duration } from '../report/format';
import { html, Markup } from '../report/markup';
import type { TrainingLogEntry } from '../train/loop';

/** What shows HTML and replaces it at the next call: tslab's `newDisplay()`. */
export interface Display {
  /** Shows this HTML in place of what it showed before. */
  html(content: string): void;
}

/** What `runRecipe`, `searchCheckpoint`, `evaluateCheckpoint` and their like take. */
export type LiveOptions = Required<
  Pick<RunOptions, 'onProgress' | 'onStage' | 'onMetrics' | 'signal'>
>;

/** Between two drawings at least, in milliseconds: a notebook keeps up with four a second. */
const interval = 250;

/**
 * Does long work while its progress, its stages and its training losses are shown.
 *
 * ```ts
 * const { report } = await live(newDisplay(), (options) => runRecipe('demo.yaml', options));
 * ```
 *
 * An interruption of the kernel (SIGINT) aborts the work at the next safe place; what the run folder
 * holds is kept, and the same cell goes on from there.
 * @returns what the work returns
 * @throws what it throws
 */
export async function live<Result>(
  display: Display,
  work: (options: LiveOptions) => Promise<Result>,
): Promise<Result> {
  const picture = new Picture(display);
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  // Node puts the handler of who runs a cell away while it runs, and what is added meanwhile would be
  // lost with the kernel: https://nodejs.org/api/vm.html, breakOnSigint.
  await setImmediate();
  process.once('SIGINT', abort);
  try {
    const result = await work({ ...picture.listeners, signal: controller.signal });
    picture.end();
    return result;
  } catch (error) {
    picture.end(controller.signal.aborted ? 'interrupted' : 'failed');
    throw error;
  } finally {
    process.off('SIGINT', abort);
  }
}

class Picture {
  readonly #started = performance.now();
  readonly #stages: { name: string; artifact: Artifact }[] = [];
  readonly #logs = new Map<string, TrainingLogEntry[]>();
  #progress: Progress | undefined;
  #drawn = -Infinity;

  constructor(readonly display: Display) {}

  readonly listeners: Omit<LiveOptions, 'signal'> = {
    onProgress: (progress) => {
      this.#progress = progress;
      this.#draw();
    },
    onStage: (name, artifact) => {
      this.#stages.push({ name, artifact });
      this.#progress = undefined;
      this.#draw();
    },
    onMetrics: (stage, entry) => {
      const log = this.#logs.get(stage);
      if (log === undefined) this.#logs.set(stage, [entry]);
      else log.push(entry);
      this.#draw();
    },
  };

  /** The last drawing, with how it ended. */
  end(how: string = 'done'): void {
    this.#progress = undefined;
    const seconds = (performance.now() - this.#started) / 1000;
    this.display.html(this.#html(`${how} after ${duration(seconds)}`));
  }

  #draw(): void {
    const now = performance.now();
    if (now - this.#drawn < interval) return;
    this.#drawn = now;
    this.display.html(this.#html());
  }

  #html(last?: string): string {
    const curves = [...this.#logs].map(([stage, log]) => curveOf(stage, log));
    const stages = this.#stages.map(
      ({ name, artifact }) => html`<div>${name}: ${originOf(artifact)}</div>`,
    );
    return html`<div style="font-variant-numeric: tabular-nums">
      ${stages} ${this.#progress && bar(this.#progress)} ${last && html`<div>${last}</div>`}
      ${curves.length > 0 && new Markup(trainingFigure(curves))}
    </div>`.text;
  }
}

function originOf({ given, reused, seconds }: Artifact): string {
  if (given) return 'the checkpoint that is given';
  return reused ? 'taken from before' : duration(seconds);
}

function bar({ label, done, total, note }: Progress): Markup {
  return html`<div>
    ${label} <progress value="${done}" max="${Math.max(total, 1)}"></progress> ${done}/${total}
    ${note}
  </div>`;
}
