import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { DecodedAudio } from './wav';

/**
 * Decodes flac, mp3 and the other formats of `audio-decode` in a worker thread: the codecs are
 * WebAssembly that would hold up the program, and the package is an ES module, which CommonJS
 * cannot load everywhere (older Node 20, jest). The thread starts with the first file, serves all
 * later ones, and does not keep the program alive.
 *
 * @param bytes a whole file
 * @throws Error with the codec's words if they do not decode
 */
export function decodeInWorker(bytes: Uint8Array): Promise<DecodedAudio> {
  worker ??= start();
  const id = nextId++;
  const answer = new Promise<DecodedAudio>((resolve, reject) => {
    waiting.set(id, { resolve, reject });
  });
  worker.ref();
  worker.postMessage({ id, bytes });
  return answer;
}

interface Answer {
  id: number;
  error?: string;
  samples: Float32Array[];
  sampleRate: number;
}

let worker: Worker | undefined;
let nextId = 0;
const waiting = new Map<
  number,
  { resolve: (audio: DecodedAudio) => void; reject: (error: Error) => void }
>();

/** The thread's program, CommonJS; in a worker's own realm `import` works everywhere. */
const program = `
const { parentPort, workerData } = require('node:worker_threads');
// The codecs warn on the console about damaged frames; the caller gets an error instead.
console.warn = console.error = () => {};
const loaded = import(workerData.module);
parentPort.on('message', async ({ id, bytes }) => {
  try {
    const { default: decode } = await loaded;
    const { channelData, sampleRate } = await decode(bytes);
    const samples = channelData.map((channel) => Float32Array.from(channel));
    parentPort.postMessage({ id, samples, sampleRate }, samples.map((channel) => channel.buffer));
  } catch (error) {
    parentPort.postMessage({ id, error: String(error?.message ?? error) });
  }
});
`;

function start(): Worker {
  const module = pathToFileURL(require.resolve('audio-decode')).href;
  const started = new Worker(program, { eval: true, workerData: { module } });
  const fail = (error: Error): void => {
    if (worker === started) worker = undefined;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  started.on('message', ({ id, error, samples, sampleRate }: Answer) => {
    const request = waiting.get(id);
    waiting.delete(id);
    if (waiting.size === 0) started.unref();
    if (error !== undefined) request?.reject(new Error(error));
    else request?.resolve({ samples: samples.map((s) => new Float32Array(s)), sampleRate });
  });
  started.on('error', fail);
  started.on('exit', (code) => fail(new Error(`the decoder stopped with code ${code}`)));
  return started;
}
