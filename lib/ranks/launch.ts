/** Starts the processes of one machine, as torchrun does. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { DistributedError } from '../torch/distributed/error';

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
  /**
   * How often all ranks are started again because a signal has ended rank 0, or has ended another
   * one without which rank 0 cannot go on (see {@link tellLauncher}); 0 unless given, as torchrun's.
   */
  maxRestarts?: number;
}

/**
 * Runs a program in several processes that find each other through torchrun's variables, on
 * 127.0.0.1. Rank 0 has this process' input and output. The run is rank 0's: when it ends, so do the
 * others; it decides whether it can go on without one of them.
 * @returns rank 0's exit status, 1 if a signal has ended it
 */
export async function launchRanks(options: LaunchOptions): Promise<number> {
  const { maxRestarts = 0, onLine = () => undefined } = options;
  for (let restarts = 1; ; restarts++) {
    const { status, killed } = await launchOnce(options);
    if (killed === undefined) return status;
    const again = restarts <= maxRestarts;
    const times = `for the ${restarts}. time of at most ${maxRestarts}`;
    onLine(again ? `${killed}; all ranks start again, ${times}` : killed);
    if (!again) return status;
  }
}

interface Outcome {
  status: number;
  /** What a signal has ended, if it is that which has ended the run. */
  killed?: string;
}

async function launchOnce(options: LaunchOptions): Promise<Outcome> {
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
  let interrupted = false;
  const forward = (signal: NodeJS.Signals): void => {
    interrupted = true;
    for (const child of children) child.kill(signal);
  };
  for (const signal of signals) process.on(signal, forward);
  let lost = false;
  children[0]!.on('message', (message) => (lost ||= message === lostMessage));
  try {
    const endings = children.map(ending);
    for (const [rank, ended] of endings.entries()) {
      if (rank === 0) continue;
      void ended.then(({ code, signal }) => {
        if (code === 0 || children[0]!.exitCode !== null) return;
        if (children[0]!.signalCode !== null) return;
        onLine(`rank ${rank} has ended (${signal ?? `exit status ${code}`})`);
      });
    }
    const { code, signal } = await endings[0]!;
    const others = await endRest(children.slice(1), endings.slice(1));
    if (interrupted) return { status: code ?? 1 };
    if (signal !== null) return { status: 1, killed: `rank 0 has ended (${signal})` };
    const dead = others.findIndex((other) => other.signal !== null && !other.byUs);
    const killed = lost && dead >= 0 ? `rank 0 cannot go on without rank ${dead + 1}` : undefined;
    return { status: code ?? 1, killed };
  } finally {
    for (const signal of signals) process.removeListener(signal, forward);
  }
}

interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Not of itself: {@link endRest} has done it. */
  byUs?: boolean;
}

function ending(child: ChildProcess): Promise<Ending> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
}

/** Gives ranks that know by themselves a moment to end, and ends the rest. */
async function endRest(children: ChildProcess[], endings: Promise<Ending>[]): Promise<Ending[]> {
  const slow = new Set<ChildProcess>();
  const late = setTimeout(() => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      slow.add(child);
      child.kill('SIGKILL');
    }
  }, 5000);
  const all = await Promise.all(endings);
  clearTimeout(late);
  return all.map((one, i) => ({ ...one, byUs: slow.has(children[i]!) }));
}

/** In a rank: ends this process when the one that launched it is gone. */
export function endWithLauncher(): void {
  if (process.channel === undefined || process.env.RANK === undefined) return;
  process.on('disconnect', () => process.exit(1));
  process.channel.unref();
}

const lostMessage = 'pare: another rank is gone';

/** In a rank: tells the one that launched it if this one ends because another is gone. */
export async function tellLauncher(error: unknown): Promise<void> {
  if (!(error instanceof DistributedError) || process.send === undefined) return;
  await new Promise((resolve) => process.send!(lostMessage, resolve));
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
