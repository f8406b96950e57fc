/** Starts the processes of one machine, as torchrun does. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';

export interface LaunchOptions {
  /** Processes. */
  nproc: number;
  /** What each of them runs: a program of Node and its arguments. */
  args: readonly string[];
  /** Takes lines: what ranks above 0 print, and what is to be told of the ranks. */
  onLine?: (line: string) => void;
  env?: NodeJS.ProcessEnv;
  /** Signals that all ranks are sent; the first of each process. */
  signals?: readonly NodeJS.Signals[];
}

/**
 * Runs a program in several processes that find each other through torchrun's variables, on
 * 127.0.0.1. Rank 0 has this process' input and output. The run is rank 0's: when it ends, so do the
 * others; it decides whether it can go on without one of them.
 * @returns rank 0's exit status, 1 if a signal has ended it
 */
export async function launchRanks(options: LaunchOptions): Promise<number> {
  const { nproc, args, onLine = () => undefined, env = process.env } = options;
  const port = await freePort();
  const threads = Math.max(1, Math.floor(availableParallelism() / nproc));
  const children = Array.from({ length: nproc }, (_, rank) => {
    const child = spawn(process.execPath, [...process.execArgv, ...args], {
      env: {
        // Cores are divided, unless somebody has thought about it.
        ...{ OMP_NUM_THREADS: String(threads), ...env },
        ...{ RANK: String(rank), LOCAL_RANK: String(rank), WORLD_SIZE: String(nproc) },
        ...{ MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(port) },
      },
      // Not in the terminal's group: a Ctrl-C must reach each rank once, from here.
      detached: true,
      // The channel ends with this process, and the ranks with it; see `endWithLauncher`.
      stdio: [
        'ignore',
        ...(rank === 0 ? (['inherit', 'inherit'] as const) : (['pipe', 'pipe'] as const)),
        'ipc',
      ],
    });
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      createInterface(stream).on('line', (line) => onLine(`[rank ${rank}] ${line}`));
    }
    return child;
  });
  const signals = options.signals ?? (['SIGINT', 'SIGTERM'] as const);
  const forward = (signal: NodeJS.Signals): void => {
    for (const child of children) child.kill(signal);
  };
  for (const signal of signals) process.on(signal, forward);
  try {
    const endings = children.map(ending);
    for (const [rank, ended] of endings.entries()) {
      if (rank === 0) continue;
      void ended.then(({ code, signal }) => {
        if (code === 0 || children[0]!.exitCode !== null) return;
        onLine(`rank ${rank} has ended (${signal ?? `exit status ${code}`})`);
      });
    }
    const { code } = await endings[0]!;
    await endRest(children.slice(1), endings.slice(1));
    return code ?? 1;
  } finally {
    for (const signal of signals) process.removeListener(signal, forward);
  }
}

interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
}

function ending(child: ChildProcess): Promise<Ending> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
}

/** Gives ranks that know by themselves a moment to end, and ends the rest. */
async function endRest(children: ChildProcess[], endings: Promise<Ending>[]): Promise<void> {
  const late = setTimeout(() => {
    for (const child of children) child.kill('SIGKILL');
  }, 5000);
  await Promise.all(endings);
  clearTimeout(late);
}

/** In a rank: ends this process when the one that launched it is gone. */
export function endWithLauncher(): void {
  if (process.channel === undefined || process.env.RANK === undefined) return;
  process.on('disconnect', () => process.exit(1));
  process.channel.unref();
}

/** A port of 127.0.0.1 that is free now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
