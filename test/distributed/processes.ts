/** Starts several processes that work together, each with torchrun's variables. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';

/** How a process ended: what it returned, or its error; neither if it was killed. */
export interface Ending<T> {
  value?: T;
  error?: string;
  message?: string;
  signal?: NodeJS.Signals;
}

export interface Started<T> {
  child: ChildProcess;
  ending: Promise<Ending<T>>;
  /** Resolves when the process says this. */
  says: (what: unknown) => Promise<void>;
}

/** A port that was free just now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** @param prefix a command that runs the process, such as `ip netns exec NAME` */
export function start<T>(
  program: string,
  argument: unknown,
  env: Record<string, string> = {},
  prefix: readonly string[] = [],
): Started<T> {
  const command = [...prefix, process.execPath, join(__dirname, 'program.js'), program];
  const child = spawn(command[0]!, [...command.slice(1), JSON.stringify(argument)], {
    env: { ...process.env, OMP_NUM_THREADS: '1', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said: string[] = [];
  const waiting: (() => void)[] = [];
  let ended: Ending<T> = {};
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = (text + chunk.toString()).split('\n');
    text = lines.pop()!;
    for (const line of lines) {
      const parsed = JSON.parse(line) as Ending<T> & { said?: unknown };
      if ('said' in parsed) said.push(JSON.stringify(parsed.said));
      else ended = parsed;
    }
    for (const check of waiting) check();
  });
  const ending = new Promise<Ending<T>>((resolve) =>
    child.on('close', (_, signal) => {
      resolve(signal === null ? ended : { ...ended, signal });
    }),
  );
  const says = (what: unknown): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => (said.includes(JSON.stringify(what)) ? resolve() : undefined);
      waiting.push(check);
      void ending.then((end) => reject(new Error(`it ended: ${JSON.stringify(end)}`)));
      check();
    });
  return { child, ending, says };
}

/** Starts `worldSize` processes of one world and waits for all of them. */
export async function together<T>(
  program: string,
  worldSize: number,
  argument: unknown = null,
): Promise<Ending<T>[]> {
  const started = await startAll<T>(program, worldSize, argument);
  return Promise.all(started.map(({ ending }) => ending));
}

export async function startAll<T>(
  program: string,
  worldSize: number,
  argument: unknown = null,
): Promise<Started<T>[]> {
  const port = String(await freePort());
  return Array.from({ length: worldSize }, (_, rank) =>
    start<T>(program, argument, variables(rank, worldSize, port)),
  );
}

export function variables(
  rank: number,
  worldSize: number,
  port: string,
  address: string = '127.0.0.1',
): Record<string, string> {
  return {
    RANK: String(rank),
    WORLD_SIZE: String(worldSize),
    LOCAL_RANK: String(rank),
    MASTER_ADDR: address,
    MASTER_PORT: port,
  };
}
