/**
 * Contestants are processes of their own, so that neither's memory, threads or warm-up is the
 * other's. Each answers a line of JSON with a line of JSON; they take turns, so that all see the same
 * machine.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Milliseconds, and whatever else a contestant measured. */
export type Measured = { ms: number } & Record<string, number>;

export class Contestant {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(
    readonly name: string,
    child: ChildProcess,
    lines: AsyncIterator<string>,
  ) {
    this.#child = child;
    this.#lines = lines;
  }

  /** Starts a program; its first answer says that it is ready, and what with. */
  static async start(
    name: string,
    [command, ...args]: readonly string[],
    env: NodeJS.ProcessEnv = {},
  ): Promise<{ contestant: Contestant; ready: Record<string, unknown> }> {
    const child = spawn(command!, args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    });
    const lines = createInterface(child.stdout!)[Symbol.asyncIterator]();
    const contestant = new Contestant(name, child, lines);
    return { contestant, ready: await contestant.#answer() };
  }

  async ask(request: object): Promise<Measured> {
    this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
    return (await this.#answer()) as Measured;
  }

  async #answer(): Promise<Record<string, unknown>> {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error(`${this.name} ended without an answer; its error is above`);
      // Libraries print lines of their own.
      if (value.startsWith('{')) return JSON.parse(value) as Record<string, unknown>;
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin!.end();
    await ended;
  }
}

export function median(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[values.length >> 1]!;
}

/** All answers of each contestant to the same request, asked in turns; the first is not counted. */
export async function race(
  contestants: readonly Contestant[],
  request: object,
  rounds: number,
): Promise<Measured[][]> {
  const results: Measured[][] = contestants.map(() => []);
  for (let round = -1; round < rounds; round++) {
    for (const [i, contestant] of contestants.entries()) {
      const measured = await contestant.ask(request);
      if (round >= 0) results[i]!.push(measured);
    }
  }
  return results;
}
