import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { pathToFileURL } from 'node:url';
import type { DecodedAudio } from './wav';

/**
 * Decodes one flac, mp3 or other file of `audio-decode`, piece by piece, in a child process: the
 * codecs would hold up the program, and a damaged file can make them ask for more memory than there
 * is, which ends a process whatever thread it happens in. (An mp4 that lied about the number of its
 * samples did.) A child serves one file after the other, and several at a time only where there are
 * more files than processors. None keeps the program alive.
 */
export class CodecSession {
  readonly #id = nextId++;
  readonly #child: Child = childFor(this.#id);

  /**
   * @param bytes the file's next; the first must show what format it is (64 kB always do)
   * @returns what they complete, at most a few seconds; no channels if nothing
   * @throws Error with the codec's words if they do not decode
   */
  push(bytes: Uint8Array): Promise<DecodedAudio> {
    return this.#ask({ operation: 'push', bytes });
  }

  /** What the codec still holds. */
  end(): Promise<DecodedAudio> {
    return this.#ask({ operation: 'end' });
  }

  /** Frees the codec. Must be called, whatever happened. */
  close(): void {
    const child = this.#child;
    child.sessions.delete(this.#id);
    if (child.dead) return;
    child.send({ id: this.#id, operation: 'close' });
    const isSpare = children.some((other) => other !== child && other.sessions.size === 0);
    if (child.sessions.size === 0 && isSpare) child.end(new Error('not needed'));
  }

  #ask(request: { operation: 'push' | 'end'; bytes?: Uint8Array }): Promise<DecodedAudio> {
    const child = this.#child;
    if (child.dead) return Promise.reject(child.dead);
    return new Promise<DecodedAudio>((resolve, reject) => {
      const timer = setTimeout(
        () => child.end(new Error('the decoder does not come to an end')),
        patience,
      );
      child.waiting.set(this.#id, { resolve, reject, timer });
      child.send({ id: this.#id, ...request });
    });
  }
}

/**
 * Milliseconds that a codec may take for a piece, which takes it a few: a damaged file can lead one
 * round in circles.
 */
const patience = 20_000;

interface Request {
  resolve: (audio: DecodedAudio) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

interface Child {
  /** Numbers of those that it serves. */
  sessions: Set<number>;
  /** By the session's number. */
  waiting: Map<number, Request>;
  send: (message: object) => void;
  /** Ends it; all that wait for it get the error. */
  end: (error: Error) => void;
  /** Why it answers no longer. */
  dead?: Error;
}

interface Answer extends DecodedAudio {
  id: number;
  error?: string;
}

let nextId = 0;
const children: Child[] = [];

/** The one with the fewest files, or a new one. */
function childFor(session: number): Child {
  let [child] = [...children].sort((a, b) => a.sessions.size - b.sessions.size);
  if (!child || (child.sessions.size > 0 && children.length < availableParallelism())) {
    child = start();
    children.push(child);
  }
  child.sessions.add(session);
  return child;
}

/** The child's program. It says of a file what a codec says; what breaks a codec is damage. */
const program = `
const loaded = Promise.all(process.argv.slice(1).map((url) => import(url)));
const decoders = new Map();
async function open(bytes) {
  const [{ default: decode }, { default: typeOf }] = await loaded;
  const type = typeOf(bytes);
  if (!type) throw new Error('Unknown audio format');
  if (!decode[type]) throw new Error('No decoder for ' + type);
  return decode[type]();
}
async function answer({ id, operation, bytes }) {
  try {
    // Some readers look at all of the buffer that a view is of.
    if (bytes) bytes = Uint8Array.from(bytes);
    if (operation === 'push' && !decoders.has(id)) decoders.set(id, await open(bytes));
    const decoder = decoders.get(id);
    if (operation !== 'push') decoders.delete(id);
    if (operation === 'close') return decoder?.free();
    const { channelData, sampleRate } = await decoder(bytes);
    process.send({ id, samples: channelData, sampleRate });
  } catch (error) {
    decoders.delete(id);
    const isOwn = error?.constructor === Error;
    process.send({ id, error: isOwn ? error.message : 'it is damaged', samples: [], sampleRate: 0 });
  }
}
process.on('message', answer);
process.on('disconnect', () => process.exit());
`;

/** Megabytes of objects, not of samples: a table for hours of audio takes some ten. */
const heap = 256;

function start(): Child {
  const urls = ['audio-decode', 'audio-type'].map(
    (name) => pathToFileURL(require.resolve(name)).href,
  );
  const child = spawn(process.execPath, [`--max-old-space-size=${heap}`, '-e', program, ...urls], {
    // The codecs warn about damaged frames; the caller gets an error instead.
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    serialization: 'advanced',
    env: { ...process.env, NODE_OPTIONS: '', ELECTRON_RUN_AS_NODE: '1' },
  });
  child.unref();
  child.channel?.unref();
  const waiting: Child['waiting'] = new Map();
  const started: Child = {
    sessions: new Set(),
    waiting,
    send: (message) => {
      // It must not keep the program alive unless something waits for its answer.
      if (waiting.size > 0) child.channel?.ref();
      child.send(message, (error) => error && started.end(error));
    },
    end: (error) => {
      if (children.includes(started)) children.splice(children.indexOf(started), 1);
      started.dead ??= error;
      for (const { reject, timer } of waiting.values()) {
        clearTimeout(timer);
        reject(started.dead);
      }
      waiting.clear();
      child.kill('SIGKILL');
    },
  };
  child.on('message', ({ id, error, samples, sampleRate }: Answer) => {
    const request = waiting.get(id);
    waiting.delete(id);
    clearTimeout(request?.timer);
    if (waiting.size === 0) child.channel?.unref();
    if (error !== undefined) request?.reject(new Error(error));
    else request?.resolve({ samples: samples.map((s) => new Float32Array(s)), sampleRate });
  });
  child.on('error', (error) => started.end(error));
  child.on('exit', () => started.end(new Error('it is damaged; the decoder broke down')));
  return started;
}
