import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { CorpusError } from '../error';

/** A text for a synthesiser; see synthesizer.mjs for the units of each engine. */
export interface SpeechJob {
  engine: 'flite' | 'espeak';
  name: string;
  text: string;
  rate: number;
  pitch: number;
  range: number;
}

/** What the synthesiser said. */
export interface Speech {
  /** Hz. */
  sampleRate: number;
  samples: Int16Array;
}

/** The child's program is not compiled; dist/ has a copy, since a package comes without lib/. */
const program = join(__dirname, 'synthesizer.mjs');

/** A batch that ends its process is given to a new one this many times. */
const attempts = 3;

interface Answer {
  clips?: Speech[];
  error?: string;
}

/**
 * Speaks batches in `processes` child processes and calls `onBatch` for each as it is done, in any
 * order. The samples of a batch depend on nothing but the batch.
 * @throws CorpusError if a synthesiser fails or keeps ending its process
 * @throws the signal's reason, after the batches in progress
 */
export async function speakBatches(
  batches: SpeechJob[][],
  processes: number,
  onBatch: (index: number, clips: Speech[]) => void,
  signal?: AbortSignal,
): Promise<void> {
  let next = 0;
  const children = new Set<ChildProcess>();
  const worker = async (): Promise<void> => {
    let child: ChildProcess | undefined;
    while (next < batches.length) {
      signal?.throwIfAborted();
      const index = next++;
      for (let attempt = 1; ; attempt++) {
        if (!child) children.add((child = startChild()));
        const answer = await ask(child, index, batches[index]!);
        if (answer.clips) {
          onBatch(index, answer.clips);
          break;
        }
        children.delete(child);
        child.kill();
        child = undefined;
        if (attempt === attempts) {
          throw new CorpusError(
            `cannot speak the demo's phrases: ${answer.error}; run npm install again, then this command`,
          );
        }
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(processes, batches.length) }, worker));
  } finally {
    for (const child of children) child.kill();
  }
}

function startChild(): ChildProcess {
  return fork(program, {
    serialization: 'advanced',
    execArgv: ['--no-warnings'],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
}

/** Resolves to an answer with an error if the process ends first. */
function ask(child: ChildProcess, id: number, jobs: SpeechJob[]): Promise<Answer> {
  return new Promise((resolve) => {
    const ended = (code: number | null, signal: string | null): void =>
      done({ error: `the synthesiser's process ended (${signal ?? `code ${code}`})` });
    const failed = (error: Error): void => done({ error: error.message });
    const answered = (answer: unknown): void => done(answer as Answer);
    const done = (answer: Answer): void => {
      child.off('exit', ended).off('error', failed).off('message', answered);
      resolve(answer);
    };
    child.on('exit', ended).on('error', failed).on('message', answered);
    child.send({ id, jobs }, (error) => error && failed(error));
  });
}
